"""The small parts that pages are put together from: chips, cards, tables, time line, and calm words when things go wrong.

What is drawn as HTML is escaped here: values of tags and words of peers never reach a page as markup.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from workbench import signin
from workbench.brand import mark
from workbench.client import ApiError, Away, SignedOut

__all__ = [
    "ago", "calm", "card", "cards", "chip", "clock", "confirm", "diff_table", "empty", "entered", "facts",
    "first_line", "live", "md", "moment", "plural", "row", "rows", "say", "side_bar", "size", "step", "style",
    "table", "ticks", "time_line", "title",
]  # fmt: skip

STATES = {
    "good": "listening confirmed routed matched live delivered succeeded accepting running ok enabled",
    "wait": "waiting retry starting stopping sending queued busy receiving unmatched",
    "bad": "failed dead held refused error stopped discarded",
    "shadow": "shadow",
}
COLOURS = {word: colour for colour, words in STATES.items() for word in words.split()}


def style() -> None:
    """The workbench's own look; no request leaves the site for it."""
    st.html(f"<style>{(Path(__file__).parent / 'look.css').read_text()}</style>")


def title(text: str, under: str = "") -> None:
    st.title(text, anchor=False)
    if under:
        st.html(f'<p class="ax-sub">{escape(under)}</p>')


def side_bar(sections: Mapping[str, Sequence[tuple[Any, str]]]) -> None:
    """The page list, each page with an icon of Streamlit's own font (a page's icon would be fetched from a font host)."""
    st.html(f'<div class="ax-brand">{mark(26)}Axiom Flow</div>')
    for head, pages in sections.items():
        if head:
            st.html(f'<div class="ax-section">{escape(head)}</div>')
        for page, icon in pages:
            st.page_link(page, icon=f":material/{icon}:")
    user = signin.client().user
    name, role = str(user.get("name") or user.get("username", "")), str(user.get("role", ""))
    left, right = st.columns([3, 2], vertical_alignment="center")
    left.html(f'<div class="ax-small ax-foot">{escape(name)}<br><span class="ax-quiet">{escape(role)}</span></div>')
    if right.button("Sign out", type="tertiary"):
        signin.sign_out()
        st.rerun()


def entered(page: str) -> None:
    """Another page than before: what was being edited there is let go, as its widgets are."""
    if st.session_state.get("page") != page:
        st.session_state["page"] = page
        st.session_state.pop("draft", None)


# when things go wrong


@contextlib.contextmanager
def calm() -> Iterator[None]:
    """Turn what the API says into a sentence on the page. A sign-in that ended leads back to the door."""
    try:
        yield
    except SignedOut:
        signin.expire()
        st.rerun()
    except Away:
        st.html(
            '<div class="ax-empty"><b>Axiom Flow is not answering just now</b><span>It may be starting. What was '
            "received is safe on disk; this page comes back by itself when you try again.</span></div>"
        )
        if st.button("Try again", type="primary", key="try-again"):
            st.rerun()
    except ApiError as e:
        say(e)


def live(seconds: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A part of a page that draws itself anew every few seconds, by itself and calmly."""

    def wrap(draw: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(draw)
        def calm_draw(*args: Any, **kwargs: Any) -> None:
            if signin.idle():
                signin.expire()
                st.rerun()
            with calm():
                draw(*args, **kwargs)

        return st.fragment(calm_draw, run_every=seconds)

    return wrap


def say(error: ApiError) -> None:
    """An error as people read it: the sentence, then each problem."""
    if error.status == 412:
        st.warning("Somebody saved a change while you were editing. Reload the page to see it, then make yours again.")
        return
    if error.status == 403:
        st.warning(f"Your role does not allow this. {error}")
        return
    if not error.problems:
        st.error(md(str(error)))
        return
    lines = "\n".join(f"- **{md(' › '.join(map(str, p.loc)) or 'it')}**: {md(p.words)}" for p in error.problems)
    st.error(f"This cannot be saved yet:\n{lines}")


def confirm(label: str, question: str, key: str, yes: str = "", *, disabled: bool = False) -> bool:
    """A button that asks before it does: a second click is the answer."""
    with st.popover(label, disabled=disabled):
        st.write(question)
        return st.button(yes or label, type="primary", key=f"{key}-yes")


# words


def md(text: object) -> str:
    """Text for markdown, with nothing in it taken for markup."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]()<>#+!|$:~" else c for c in str(text))


def first_line(doc: Any) -> str:
    return next(iter(str(doc or "").strip().splitlines()), "")


def plural(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def moment(value: Any) -> datetime | None:
    """A time as the API writes it (ISO 8601, or seconds since 1970), aware."""
    if value in (None, ""):
        return None
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, UTC)
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def ago(value: Any) -> str:
    """How long ago, or in how long, in the one unit that matters."""
    at = moment(value)
    if at is None:
        return ""
    seconds = (datetime.now(UTC) - at).total_seconds()
    words = _span(abs(seconds))
    return "just now" if abs(seconds) < 2 else f"{words} ago" if seconds > 0 else f"in {words}"


def _span(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def clock(value: Any) -> str:
    """The local time of day, with the date when it is not today's."""
    at = moment(value)
    if at is None:
        return ""
    local = at.astimezone()
    today = local.date() == datetime.now(UTC).astimezone().date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def size(n: float | None) -> str:
    if n is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n) < 1000:
            return f"{n:.0f} {unit}" if unit == "B" or n >= 100 else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


# drawn as HTML


def colour(state: object) -> str:
    return COLOURS.get(str(state).lower(), "idle")


def chip(word: object, kind: str = "") -> str:
    """A state as a coloured pill; `kind` overrides the colour (good wait bad shadow idle plain)."""
    return f'<span class="ax-chip ax-{kind or colour(word)}">{escape(str(word))}</span>'


def card(label: str, value: int | str, kind: str = "idle") -> str:
    text = f"{value:,}" if isinstance(value, int) else escape(value)
    return (
        f'<div class="ax-card ax-{kind} {"zero" if value == 0 else ""}"><span>{escape(label)}</span><b>{text}</b></div>'
    )


def cards(items: Iterable[str]) -> None:
    st.html(f'<div class="ax-cards">{"".join(items)}</div>')


def row(left: str, right: str = "", chips: str = "") -> str:
    """One line of a list. `left`, `right` and `chips` are HTML already."""
    return f'<div class="ax-row"><div class="ax-grow">{left}</div>{chips}<div class="ax-right">{right}</div></div>'


def rows(items: Sequence[str], nothing: str = "") -> None:
    st.html(f'<div class="ax-rows">{"".join(items) or f"<span class=ax-quiet>{escape(nothing)}</span>"}</div>')


LOOK_ONLY = "Your role may look at this, and not change it."


def empty(head: str, words: str, page: str = "", button: str = "") -> None:
    """That there is nothing, and what to do next; `button` leads to the page that the words name."""
    st.html(f'<div class="ax-empty"><b>{escape(head)}</b><span>{escape(words)}</span></div>')
    if page and st.button(button, type="primary", key=f"empty-{page}"):
        st.switch_page(f"workbench/pages/{page}.py")


def facts(items: Mapping[str, Any]) -> str:
    shown = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(str(v))}</dd></div>" for k, v in items.items() if v)
    return f'<dl class="ax-facts">{shown}</dl>'


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A plain table; cells are HTML already."""
    top = "".join(f"<th>{escape(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines)
    return f'<table class="ax-table"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def diff_table(changes: Sequence[Mapping[str, Any]]) -> str:
    """Tags before and after."""

    def value(text: Any, side: str) -> str:
        if text is None:
            return '<span class="ax-none">not there</span>'
        return f'<span class="ax-{side} ax-mono">{escape(str(text)) or "&nbsp;"}</span>'

    lines = (
        (
            f'{escape(str(c.get("path", "")))}<br><span class="ax-quiet ax-mono">{_tag(c.get("tag"))}</span>',
            value(c.get("before"), "before"),
            value(c.get("after"), "after"),
            f'<span class="ax-quiet">{escape(str(c.get("morph", "")))}</span>',
        )
        for c in changes
    )
    return table(("Tag", "Before", "After", "By"), lines)


def _tag(tag: Any) -> str:
    text = escape(str(tag or ""))
    return f"({text[:4]},{text[4:]})" if len(text) == 8 else text


def step(head: str, at: Any = None, kind: str = "good", body: str = "", chips: str = "") -> str:
    """One point of a time line. `body` and `chips` are HTML already."""
    when = f'<time title="{escape(str(at))}">{clock(at)}</time>' if at else ""
    inner = f'<div class="ax-body">{body}</div>' if body else ""
    return f'<div class="ax-step ax-{kind}"><header><b>{escape(head)}</b>{chips}{when}</header>{inner}</div>'


def time_line(steps: Iterable[str]) -> str:
    return f'<div class="ax-time">{"".join(steps)}</div>'


def ticks(found: Sequence[Mapping[str, Any]]) -> None:
    """The lines of a `check()`: what was tried, and how it went."""
    marks = {True: ("good", "✓"), False: ("bad", "✕"), None: ("idle", "–")}
    lines = []
    for one in found:
        kind, mark = marks[one.get("ok")]
        words = escape(str(one.get("words") or ""))
        left = f'{escape(str(one.get("name", "")))} <span class="ax-quiet">{words}</span>'
        lines.append(
            f'<div class="ax-row"><span class="ax-{kind}" style="color:var(--c);font-weight:700;width:1rem">{mark}</span>'
            f'<div class="ax-grow">{left}</div></div>'
        )
    rows(lines, "There is nothing to try for this kind.")
