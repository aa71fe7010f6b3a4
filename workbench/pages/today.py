"""Today: is everything well, what flows where, and what needs a person. Draws itself anew every two seconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any

import altair as alt
import streamlit as st

from workbench import parts, signin
from workbench.flow import picture

MINUTES = {"15 minutes": 15, "Hour": 60, "Day": 1440}
MOST_ALERTS = 5
ALERT_PAGES = ("deliveries", "held", "sources", "destinations")
PAGES = {"source": "sources", "rule": "rules", "destination": "destinations"}


def go(page: str, **query: str) -> None:
    st.switch_page(f"workbench/pages/{page}.py", query_params=query)


def first_steps(status: dict[str, Any]) -> None:
    """An empty home says what to do first."""
    listening = [one for one in status["listeners"] if one["state"] == "listening"]
    if not listening:
        parts.empty("Nothing listens yet", "Add a source first: then modalities have somewhere to send to.")
        if signin.may("edit") and st.button("Add a source", type="primary"):
            go("sources")
        return
    parts.empty("Ready, and waiting for the first image", "Send one with any DICOM tool. With DCMTK, on this machine:")
    one = listening[0]
    host, _, port = str(one["address"]).rpartition(":")
    st.code(f"storescu -v -aec {one['ae_title']} {host or '127.0.0.1'} {port} image.dcm", language="bash")


def with_states(flow: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    """The flow's boxes with what is known of them just now: words under the name, and a colour."""
    listeners = {one["name"]: one for one in status["listeners"]}
    destinations = {one["name"]: one for one in status["destinations"]}
    nodes = []
    for node in flow["nodes"]:
        if not node["count"] and node.get("state") in ("off", "gone") and node["type"] == "rule":
            continue  # switched off, and nothing went through it: it would only be in the way
        state, note = "idle" if node.get("state") == "gone" else "", ""
        if node["type"] == "source" and (found := listeners.get(node["name"])):
            bad = found["state"] == "failed"
            state, note = ("bad", found["error"]) if bad else ("", f"{found['ae_title']} · {found['state']}")
        elif node["type"] == "destination" and (found := destinations.get(node["name"])):
            state, note = destination_state(found)
        elif node["type"] == "rule" and node.get("state") == "shadow":
            state, note = "shadow", "shadow: delivers nothing"
        name = node["name"].partition("/")[2] if node["type"] == "rule" else node["name"]
        nodes.append({**node, "name": name or node["name"], "state": state, "note": note})
    edges = [{**e, "moving": bool(e["count"])} for e in flow["edges"]]
    return {**flow, "nodes": nodes, "edges": edges}


def destination_state(found: dict[str, Any]) -> tuple[str, str]:
    if found["dead"]:
        return "bad", f"{parts.plural(found['dead'], 'dead letter')}" + (
            f", {found['waiting']} waiting" if found["waiting"] else ""
        )
    if not found["enabled"]:
        return "idle", "paused"
    if found["waiting"]:
        return "wait", f"{found['waiting']} waiting"
    return "", "sending" if found["sending"] else ""


def rates(flow: dict[str, Any]) -> None:
    names = {"received": "Received", "delivered": "Delivered"}
    if not any(m[k] for m in flow["per_minute"] for k in names):
        st.caption("No image in this time.")
        return
    values = [{"at": m["at"], "what": w, "n": m[k]} for m in every_minute(flow) for k, w in names.items()]
    shape = alt.Chart(alt.Data(values=values)).encode(
        x=alt.X("at:T", title=None, axis=alt.Axis(format="%H:%M", grid=False, tickCount=6)),
        y=alt.Y("n:Q", title=None, stack=None, axis=alt.Axis(tickCount=3)),
        color=alt.Color(
            "what:N",
            title=None,
            legend=alt.Legend(orient="top", symbolOpacity=1, symbolStrokeWidth=0),
            sort=list(names.values()),
        ),
        tooltip=[
            alt.Tooltip("at:T", format="%H:%M", title="Minute"),
            alt.Tooltip("what:N", title="What"),
            alt.Tooltip("n:Q", title="Images"),
        ],
    )
    chart = shape.mark_area(opacity=0.14, interpolate="monotone") + shape.mark_line(
        strokeWidth=2, interpolate="monotone"
    )
    st.altair_chart(chart.properties(height=190), width="stretch")


def every_minute(flow: dict[str, Any]) -> list[dict[str, Any]]:
    """The rates with the quiet minutes between, which the API leaves out."""
    known = {parts.moment(m["at"]): m for m in flow["per_minute"]}
    first = parts.moment(flow["since"]) or datetime.now(UTC)
    at, end = first.replace(second=0, microsecond=0), datetime.now(UTC)
    out = []
    while at <= end:
        out.append(known.get(at, {"received": 0, "delivered": 0}) | {"at": at.isoformat()})
        at += timedelta(minutes=1)
    return out


def page_of(place: str) -> str:
    """The page of "sources/modalities"; what is no item of a family stands here."""
    family, slash, _ = place.partition("/")
    return family if slash else "today"


def alerts(status: dict[str, Any]) -> None:
    """What alerts found: since when, in words, and what to do."""
    firing = status.get("alerts", {}).get("firing", [])
    if not firing:
        return
    with st.container(border=True, key="alerts"):
        for i, one in enumerate(firing[:MOST_ALERTS]):
            left, right = st.columns([6, 1], vertical_alignment="center")
            head = f'{parts.chip(one["alert"], "bad")} <b>{escape(one["words"])}</b>'
            under = f"{one['todo']} Since {parts.ago(one['since'])}."
            left.html(f'{head}<br><span class="ax-quiet ax-small">{escape(under)}</span>')
            page = one["page"] if one["page"] in ALERT_PAGES else "alerts"
            if right.button("Look", key=f"alert-{i}", type="tertiary", icon=":material/arrow_forward:"):
                go(page, **({} if page in ("deliveries", "held") else {"show": one["subject"].partition("/")[2]}))
        if len(firing) > MOST_ALERTS and st.button(f"{len(firing) - MOST_ALERTS} more →", key="alerts-more", type="tertiary"):
            go("alerts")


def attention(totals: dict[str, int], status: dict[str, Any]) -> None:
    """What needs a person, each beside the way to the page that solves it."""
    failed = [one for one in status["listeners"] if one["state"] == "failed"]
    ending = [one for one in status.get("certificates", []) if one["words"]]
    full = not status["spool"].get("accepting", True)
    away = not status.get("engine", {}).get("running", True)
    items = [
        (away, "The engine does not run: nothing is received, decided or sent until it is started again", "today"),
        (bool(status.get("redis")), str(status.get("redis") or ""), "today"),
        (full, "Receiving has stopped: the disk is nearly full", "deliveries"),
        *((True, f"{one['name']} does not listen: {one['error']}", "sources") for one in failed),
        *((True, f"The certificate of {one['where']}: {one['words']}", page_of(one["where"])) for one in ending),
        (
            totals["held"],
            f"{parts.plural(totals['held'], 'image')} held: the rules could not decide or change them",
            "held",
        ),
        (totals["dead"], parts.plural(totals["dead"], "delivery given up", "deliveries given up"), "dead"),
        (totals["unmatched"], f"{parts.plural(totals['unmatched'], 'image')} that no rule matched", "unmatched"),
    ]
    shown = [item for item in items if item[0]]
    if not shown:
        return
    with st.container(border=True, key="attention"):
        for i, (_, words, page) in enumerate(shown):
            dot = ":orange[●]" if page == "unmatched" else ":red[●]"
            if st.button(f"{dot} {parts.md(words)} →", key=f"attend-{i}", type="tertiary"):
                view = {"dead": "deliveries", "unmatched": "held"}.get(page, page)
                go(view, **({"view": page} if page in ("dead", "unmatched", "held") else {}))


def listeners(status: dict[str, Any]) -> None:
    lines = []
    for one in status["listeners"]:
        under = one["error"] or f"{one['ae_title']} at {one['address']}"
        left = f'<b>{escape(one["name"])}</b><br><span class="ax-quiet ax-small">{escape(under)}</span>'
        right = f"{parts.plural(one['associations'], 'association')}" if one["state"] == "listening" else ""
        lines.append(parts.row(left, f'<span class="ax-quiet ax-small">{right}</span>', parts.chip(one["state"])))
    parts.rows(lines, "Nothing listens yet.")


def machine(status: dict[str, Any]) -> None:
    spool = status["spool"]
    free, mark = spool["free_bytes"], spool["watermark_bytes"]
    near = min(1.0, mark / free) if free else 1.0
    kind = "bad" if not spool.get("accepting", True) else "wait" if near > 0.5 else "good"
    bar = f'<div class="ax-bar ax-{kind}"><i style="width:{max(2, 100 * (1 - near)):.0f}%"></i></div>'
    words = f"receiving stops below {parts.size(mark)}"
    lines = [parts.row(f'Free disk <span class="ax-quiet ax-small">{words}</span>{bar}', parts.size(free))]
    steps = {
        "receiving": "Being received",
        "ready": "To be decided",
        "routed": "On their way",
        "kept": "Delivered, still kept",
    }
    for key, label in steps.items():
        if key in spool:
            lines.append(parts.row(label, parts.plural(spool[key], "batch", "batches")))
    parts.rows(lines)


def work(status: dict[str, Any]) -> None:
    lines = [parts.row(f"Queue {escape(one['name'])}", f"{one['depth']:,}") for one in status["queues"]]
    workers = sorted(status["workers"], key=lambda w: w["queue"])
    lines += [parts.row(f"Worker {escape(task(one))}", "", parts.chip(one["state"])) for one in workers]
    parts.rows(lines, "No worker runs.")


def task(worker: dict[str, Any]) -> str:
    """What a worker is for: its queue's name without the node's ("axiom.node-1.listen.modalities.1")."""
    _, _, rest = worker["queue"].partition(".")
    words = rest.partition(".")[2] or worker["queue"]
    return re.sub(r"\.[0-9]+$", "", words).replace(".", " ")


@parts.live(2)
def now(minutes: int) -> None:
    client = signin.client()
    status, flow = client.get("/status"), client.get("/flow", minutes=minutes)
    totals = flow["totals"]
    alerts(status)
    parts.cards(
        [
            parts.card("received", totals["received"], "good"),
            parts.card("delivered", totals["delivered"], "good"),
            parts.card("deliveries waiting", totals["waiting"], "wait"),
            parts.card("no rule matched", totals["unmatched"], "wait"),
            parts.card("held", totals["held"], "bad"),
            parts.card("dead letters", totals["dead"], "bad"),
        ]
    )
    attention(totals, status)
    if not totals["received"] and not any(m["received"] for m in flow["per_minute"]):
        first_steps(status)
    if flow["nodes"]:
        chosen = picture(with_states(flow, status))
        if chosen:
            kind, _, name = chosen.partition(":")
            if kind in PAGES:
                go(PAGES[kind], show=name)
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.html('<span class="ax-title">Images per minute</span>')
        rates(flow)
    with right:
        st.html('<span class="ax-title">Listeners</span>')
        listeners(status)
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.html('<span class="ax-title">Spool</span>')
        machine(status)
    with right:
        st.html('<span class="ax-title">Workers</span>')
        work(status)


head, choice = st.columns([3, 2], vertical_alignment="bottom")
with head:
    parts.title("Today")
span = choice.segmented_control("Span", list(MINUTES), default="Hour", label_visibility="collapsed", key="span")
now(MINUTES.get(span or "Hour", 60))
