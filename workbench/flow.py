"""The picture of what flows: sources, rules and destinations as boxes, and the images between them as bands.

Drawn as SVG text here (so that tests and notebooks see the same picture), put into the page without a flicker by a few
lines of JavaScript that also tell which box was clicked or chosen by keyboard.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import streamlit as st

__all__ = ["flow_svg", "picture"]

COLUMNS = ("source", "rule", "destination")
HEADS = {"source": "Sources", "rule": "Rules", "destination": "Destinations"}
COLOURS = {"good": "#2f8f83", "wait": "#c58b2a", "bad": "#c4464d", "shadow": "#7d6bb0", "idle": "#8a979b"}
LOUD = ("bad", "wait", "shadow")
"""States of a box that colour what flows to or from it."""
WIDTH, BOX, HIGH, GAP, TOP, MOST = 1000, 232, 50, 14, 30, 12

JS = """
export default function({ parentElement, data, setTriggerValue }) {
  let root = parentElement.querySelector(".flow");
  if (!root) { root = document.createElement("div"); root.className = "flow"; parentElement.appendChild(root); }
  if (root.dataset.svg === data.svg) return;
  const focused = parentElement.activeElement?.dataset?.id ?? root.querySelector(":focus")?.dataset?.id;
  root.dataset.svg = data.svg;
  root.innerHTML = data.svg;
  for (const box of root.querySelectorAll("[data-id]")) {
    const open = () => setTriggerValue("open", box.dataset.id);
    box.addEventListener("click", open);
    box.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); open(); } });
    if (box.dataset.id === focused) box.focus();
  }
}
"""
CSS = """
.flow svg { width: 100%; height: auto; display: block; color: var(--st-text-color); font-family: var(--st-font); }
.flow [data-id] { cursor: pointer; outline: none; }
.flow [data-id]:hover .box, .flow [data-id]:focus-visible .box { fill-opacity: .11; stroke-opacity: .6; }
.flow [data-id]:focus-visible .box { stroke-width: 2; }
.flow .band { stroke-dasharray: 7 9; animation: run 1.6s linear infinite; }
@keyframes run { to { stroke-dashoffset: -32; } }
@media (prefers-reduced-motion: reduce) { .flow .band { animation: none; } }
"""


def picture(flow: Mapping[str, Any], key: str = "flow") -> str:
    """Draw it on the page; the id of a box that was just clicked, else ""."""
    draw = st.components.v2.component("axiom_flow", js=JS, css=CSS)
    result = draw(data={"svg": flow_svg(flow)}, key=key, on_open_change=lambda: None)
    return str(result.open or "")


def flow_svg(flow: Mapping[str, Any]) -> str:
    """`flow` as GET /flow gives it, each node with an optional `state` (good wait bad shadow idle) and `note`."""
    columns = {c: _column([n for n in flow["nodes"] if n["type"] == c]) for c in COLUMNS}
    high = TOP + max(max((len(c) for c in columns.values()), default=1), 1) * (HIGH + GAP)
    places: dict[str, tuple[float, float]] = {}
    for i, name in enumerate(COLUMNS):
        x = i * (WIDTH - BOX) / 2
        nodes = columns[name]
        start = TOP + (high - TOP - len(nodes) * (HIGH + GAP)) / 2
        for j, node in enumerate(nodes):
            places[node["id"]] = (x, start + j * (HIGH + GAP))
    edges = [e for e in flow["edges"] if e["from"] in places and e["to"] in places]
    states = {n["id"]: n.get("state", "") for c in columns.values() for n in c}
    heads = "".join(
        f'<text x="{i * (WIDTH - BOX) / 2 + 2:.0f}" y="14" font-size="12.5" fill="currentColor" fill-opacity=".55">'
        f"{HEADS[c]}</text>"
        for i, c in enumerate(COLUMNS)
    )
    bands = "".join(_band(e, *ends, wide, states) for e, ends, wide in _lay(edges, places))
    boxes = "".join(_box(n, *places[n["id"]]) for c in COLUMNS for n in columns[c])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {high:.0f}" role="group" '
        f'aria-label="Flow of images from sources through rules to destinations">{heads}{bands}{boxes}</svg>'
    )


def _column(nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The boxes of a column in their order; of very many, those that carry most, and one for the rest."""
    if len(nodes) <= MOST:
        return [dict(n) for n in nodes]
    kept = {n["id"] for n in sorted(nodes, key=lambda n: -n.get("count", 0))[: MOST - 1]}
    rest = [n for n in nodes if n["id"] not in kept]
    more = {"id": f"more:{nodes[0]['type']}", "type": nodes[0]["type"], "name": f"{len(rest)} more"}
    more["count"] = sum(n.get("count", 0) for n in rest)
    return [*(dict(n) for n in nodes if n["id"] in kept), more]


Point = tuple[float, float]


def _lay(edges: Sequence[Mapping[str, Any]], places: Mapping[str, Point]) -> list[tuple[Mapping[str, Any], Any, float]]:
    """Each edge with its two ends and its width: side by side where several leave or reach one box."""
    most = max((e.get("count", 0) for e in edges), default=0) or 1
    wide = {(e["from"], e["to"]): 1.4 + 12 * math.sqrt(e.get("count", 0) / most) for e in edges}
    ends: dict[tuple[str, str], list[Point]] = {key: [(0.0, 0.0), (0.0, 0.0)] for key in wide}
    for side, this, other in ((0, 0, 1), (1, 1, 0)):
        for box in {key[this] for key in wide}:
            mine = sorted((key for key in wide if key[this] == box), key=lambda key: places[key[other]][1])
            total = sum(wide[key] for key in mine) + 2 * (len(mine) - 1)
            squeeze = min(1.0, (HIGH - 12) / total)
            x, top = places[box]
            y = top + HIGH / 2 - total * squeeze / 2
            for key in mine:
                ends[key][side] = (x + (BOX if side == 0 else 0), y + wide[key] * squeeze / 2)
                y += (wide[key] + 2) * squeeze
    return [(e, ends[e["from"], e["to"]], wide[e["from"], e["to"]]) for e in edges]


def _band(edge: Mapping[str, Any], start: Point, end: Point, wide: float, states: Mapping[str, str]) -> str:
    (x1, y1), (x2, y2) = start, end
    count = edge.get("count", 0)
    state = edge.get("state") or next(
        (s for s in (states.get(edge["to"]), states.get(edge["from"])) if s in LOUD), "good"
    )
    colour = COLOURS[str(state) if count else "idle"]
    middle = (x1 + x2) / 2
    d = f"M{x1:.0f} {y1:.1f}C{middle:.0f} {y1:.1f} {middle:.0f} {y2:.1f} {x2:.0f} {y2:.1f}"
    words = (
        f"{edge['from'].partition(':')[2] or edge['from']} → {edge['to'].partition(':')[2] or edge['to']}: {count:,}"
    )
    soft = f'<path d="{d}" fill="none" stroke="{colour}" stroke-opacity="{0.32 if count else 0.25}" stroke-width="{wide:.1f}">'
    moving = f'<path class="band" d="{d}" fill="none" stroke="{colour}" stroke-opacity=".55" stroke-width="1.4"/>'
    return f"{soft}<title>{escape(words)}</title></path>{moving if edge.get('moving') else ''}"


def _box(node: Mapping[str, Any], x: float, y: float) -> str:
    colour = COLOURS.get(str(node.get("state", "")), COLOURS["good" if node.get("count") else "idle"])
    name, note = str(node["name"]), str(node.get("note", ""))
    head = escape(_short(name, 22))
    words = escape(f"{name}: {node.get('count', 0):,} images{f', {note}' if note else ''}")
    base = y + (22 if note else 30)
    under = (
        f'<text x="{x + 16:.0f}" y="{y + 39:.1f}" font-size="11.5" fill="{colour}">{escape(_short(note, 30))}</text>'
    )
    return (
        f'<g data-id="{escape(str(node["id"]))}" tabindex="0" role="link" aria-label="{words}"><title>{words}</title>'
        f'<rect class="box" x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{BOX - 1}" height="{HIGH - 1}" rx="9" '
        f'fill="{colour}" fill-opacity=".055" stroke="{colour}" stroke-opacity=".35"/>'
        f'<rect x="{x:.0f}" y="{y + 11:.1f}" width="4" height="{HIGH - 22}" rx="2" fill="{colour}"/>'
        f'<text x="{x + 16:.0f}" y="{base:.1f}" font-size="14" font-weight="560" fill="currentColor">{head}</text>'
        f'<text x="{x + BOX - 14:.0f}" y="{y + 30:.1f}" font-size="15" text-anchor="end" fill="currentColor" '
        f'fill-opacity=".8">{node.get("count", 0):,}</text>{under if note else ""}</g>'
    )


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
