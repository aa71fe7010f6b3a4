"""Data browser: what the archives have, asked by level and filter; what is chosen is fetched and goes through the rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from workbench import boxes, browsing, parts, signin
from workbench.browsing import BELOW, LEVELS
from workbench.client import Refused

PAGE = 100
SECONDS = 30.0
HIDDEN = "***"


def asked() -> dict[str, Any]:
    """What was asked last, with its answer; {} before the first question."""
    found: dict[str, Any] = st.session_state.get("browse") or {}
    return found


def ask(source: str, level: str, filters: Mapping[str, str], *, way: list[dict[str, Any]], offset: int = 0) -> None:
    """Ask, and keep the answer with the way that led there."""
    body = {
        "source": source, "level": level, "filters": filters, "limit": PAGE, "offset": offset, "timeout": SECONDS,
    }  # fmt: skip
    answer, problem = None, None
    try:
        with st.spinner(f"Asking {parts.md(source)}…", show_time=True):
            answer = signin.client().request("POST", "/data-browser/query", json=body, timeout=SECONDS + 15).json()
    except Refused as e:
        problem = e
    st.session_state["browse"] = {
        "source": source, "level": level, "filters": dict(filters), "way": way, "offset": offset, "answer": answer,
        "problem": problem, "number": asked().get("number", 0) + 1,
    }  # fmt: skip


def page() -> None:
    parts.title(
        "Data browser", "Ask archives what they have. What you choose is fetched, and goes through the rules like any image."
    )
    known = signin.client().get("/data-browser/sources")
    if not known:
        parts.empty(
            "No source that can be asked yet",
            "Add a DICOM archive, a DICOMweb server or a Google DICOM store under Sources, and look into it from here.",
            "sources",
            "To the sources",
        )
        return
    question(known)
    if asked():
        results()
    browsing.routes()


def question(known: list[dict[str, Any]]) -> None:
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    names = {one["name"]: one for one in known}
    source = left.selectbox(
        "Source", list(names), key="browse-source", format_func=lambda n: f"{n} · {names[n]['label']}",
        help=names[st.session_state.get("browse-source", next(iter(names)))].get("description") or None,
    )  # fmt: skip
    level = right.segmented_control(
        "Look for", list(LEVELS), default="study", required=True, key="browse-level", format_func=lambda v: LEVELS[v]
    )
    with st.container(border=True):
        filters = browsing.filters_form(str(level))
        if st.button("Ask", type="primary", icon=":material/search:"):
            ask(str(source), str(level), filters, way=[])


def results() -> None:
    now = asked()
    crumbs(now)
    if now["problem"] is not None:
        parts.say(now["problem"])
        return
    matches = now["answer"]["matches"]
    if not matches:
        parts.empty("Nothing fits", f"{now['source']} answered, and has nothing that fits these filters.")
        return
    if now["answer"]["words"]:
        st.warning(parts.md(now["answer"]["words"]))
    columns = browsing.columns_of(now["level"], matches)
    chosen = boxes.choose(matches, columns, f"browse-{now['number']}")
    with st.container(horizontal=True, vertical_alignment="center"):
        fetch_button(now, chosen)
        below = BELOW.get(now["level"])
        words = f"Show its {LEVELS[below].lower()}" if below else ""
        icon = ":material/subdirectory_arrow_right:"
        if below and st.button(words, disabled=len(chosen) != 1, icon=icon) and go_down(now, chosen[0], below):
            st.rerun()
        paging(now)
        first = now["offset"] + 1
        st.caption(f"{first:,} to {now['offset'] + len(matches):,}" + (", and more" if now["answer"]["more"] else ""))


def crumbs(now: Mapping[str, Any]) -> None:
    """The way down, each step a way back up."""
    if not now["way"]:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        for i, step in enumerate(now["way"]):
            if st.button(step["label"], key=f"browse-step-{now['number']}-{i}", type="tertiary", icon=":material/arrow_upward:"):
                ask(now["source"], step["level"], step["filters"], way=now["way"][:i], offset=step["offset"])
                st.rerun()
        st.caption(f"› {LEVELS[now['level']]}")


def go_down(now: Mapping[str, Any], match: Mapping[str, Any], below: str) -> bool:
    """Ask for what is below a match; False: it cannot be asked for."""
    filters = {
        "PatientID": browsing.value(match, "PatientID") or now["filters"].get("PatientID", ""),
        "StudyInstanceUID": match["study_instance_uid"],
        "SeriesInstanceUID": match["series_instance_uid"],
    }
    if filters["StudyInstanceUID"]:
        del filters["PatientID"]
    elif filters["PatientID"] == HIDDEN:
        st.toast("Your role does not see who the patients are: look for studies instead.", icon=":material/visibility_off:")
        return False
    label = f"{LEVELS[now['level']]} › {browsing.label_of(match)}"
    step = {"label": label, "level": now["level"], "filters": now["filters"], "offset": now["offset"]}
    ask(now["source"], below, {tag: uid for tag, uid in filters.items() if uid}, way=[*now["way"], step])
    return True


def paging(now: Mapping[str, Any]) -> None:
    back, forth = now["offset"] > 0, now["answer"]["more"]
    if not back and not forth:
        return
    for label, step, on in (("Earlier", -PAGE, back), ("Further", PAGE, forth)):
        if st.button(label, disabled=not on, key=f"browse-{label}"):
            offset = max(0, now["offset"] + step)
            ask(now["source"], now["level"], now["filters"], way=now["way"], offset=offset)
            st.rerun()


def fetch_button(now: Mapping[str, Any], chosen: list[dict[str, Any]]) -> None:
    if not st.button("Fetch and route", type="primary", disabled=not chosen, icon=":material/download:"):
        return
    try:
        made = signin.client().request(
            "POST", "/data-browser/route", json={"source": now["source"], "items": chosen}, timeout=75.0
        ).json()  # fmt: skip
    except Refused as e:
        parts.say(e)
        return
    labels = st.session_state.setdefault("browse-labels", {})
    labels[made["id"]] = {
        m["sop_instance_uid"] or m["series_instance_uid"] or m["study_instance_uid"]: browsing.label_of(m) for m in chosen
    }
    st.toast(f"{parts.plural(len(chosen), 'entry', 'entries')} on the way.", icon=":material/check:")


page()
