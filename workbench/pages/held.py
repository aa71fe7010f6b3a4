"""Held: images that the rules could not decide or change, and images that no rule matched. Nothing of them is lost."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import streamlit as st

from workbench import boxes, parts, signin

VIEWS = {
    "held": ("Held", "Nothing is held", "What a rule could not decide or change would wait here, with its reason."),
    "unmatched": (
        "No rule matched",
        "Every image found a rule",
        "What no rule wants is kept here for some days, to be replayed.",
    ),
}


def patients(item: Mapping[str, Any]) -> str:
    names = [
        str(i.get("patient_name") or i.get("patient_id") or "unreadable").replace("^", " ")
        for i in item.get("instances", [])
    ]
    found = list(dict.fromkeys(names))
    return ", ".join(found[:2]) + (f" and {len(found) - 2} more" if len(found) > 2 else "")


COLUMNS = {
    "Since": lambda h: parts.ago(h["at"]),
    "Images": lambda h: h["count"],
    "Patient": patients,
    "Modality": lambda h: ", ".join(sorted({str(i.get("modality") or "?") for i in h.get("instances", [])})),
    "From": lambda h: h.get("calling_ae", ""),
    "Source": lambda h: h["source"],
    "Reason": lambda h: h.get("reason", ""),
}
MOST_REASONS = 5


def why(rows: list[dict[str, Any]]) -> None:
    """Each reason whole and once, with how many images it holds: a table's cell would cut it."""
    counted: dict[str, int] = {}
    for item in rows:
        reason = item.get("reason") or "No reason was given"
        counted[reason] = counted.get(reason, 0) + item["count"]
    most = sorted(counted.items(), key=lambda pair: -pair[1])
    with st.container(border=True):
        parts.rows(
            [
                parts.row(escape(reason), f'<span class="ax-quiet ax-small">{parts.plural(n, "image")}</span>')
                for reason, n in most[:MOST_REASONS]
            ]
        )
        if len(most) > MOST_REASONS:
            st.caption(f"and {len(most) - MOST_REASONS} more reasons")


def details(chosen: list[dict[str, Any]]) -> None:
    for item in chosen[:5]:
        with st.container(border=True):
            reasons = list(dict.fromkeys(i["reason"] for i in item.get("instances", []) if i.get("reason")))
            for reason in (reasons or [item.get("reason", "")])[:3]:
                st.html(f"<b>{escape(reason)}</b>")
            if len(reasons) > 3:
                st.caption(f"and {len(reasons) - 3} more like these")
            lines = [
                (
                    escape(str(i.get("patient_name") or "").replace("^", " ")),
                    escape(str(i.get("patient_id") or "")),
                    escape(str(i.get("modality") or "")),
                    f'<span class="ax-mono">{escape(str(i.get("sop_instance_uid") or "unreadable"))}</span>',
                )
                for i in item.get("instances", [])[:20]
            ]
            st.html(parts.table(("Patient", "Patient ID", "Modality", "SOP Instance UID"), lines))
            uids = [i["sop_instance_uid"] for i in item.get("instances", []) if i.get("sop_instance_uid")]
            if uids:
                st.page_link(
                    "workbench/pages/instance.py",
                    label="Whole story",
                    icon=":material/timeline:",
                    query_params={"uid": uids[0]},
                )


def page() -> None:
    parts.title(
        "Held", "Kept with their reason until a person decides. Put the rule right, then send them through again."
    )
    client = signin.client()
    found = {view: boxes.rows_of(client.get(f"/{view}"), view) for view in VIEWS}
    wanted = st.query_params.pop("view", None) if "view" in st.query_params else None
    st.session_state.setdefault("held-view", "held" if found["held"] or not found["unmatched"] else "unmatched")
    if wanted in VIEWS:
        st.session_state["held-view"] = wanted
    count = {view: sum(h["count"] for h in rows) for view, rows in found.items()}
    view = st.segmented_control(
        "View", list(VIEWS), required=True, key="held-view", label_visibility="collapsed",
        format_func=lambda v: f"{VIEWS[v][0]}  {count[v]:,}",
    )  # fmt: skip
    if not found[view]:
        parts.empty(*VIEWS[view][1:])
        return
    if view == "held":
        why(found[view])
    columns = {k: c for k, c in COLUMNS.items() if k != "Reason" or view == "held"}
    chosen = boxes.choose(found[view], columns, f"held-{view}", Reason=st.column_config.TextColumn(width="large"))
    images = parts.plural(sum(h["count"] for h in chosen), "image")
    with st.container(horizontal=True, vertical_alignment="center"):
        path = "/held/retry" if view == "held" else "/unmatched/replay"
        if st.button("Send through the rules again", type="primary", disabled=not chosen, icon=":material/refresh:"):
            boxes.act(path, chosen, "on the way through the rules")
        if view == "held":
            boxes.discard_button("/held/discard", chosen, f"Throw away {images}? They cannot be brought back.", "held")
        st.caption(f"{images} chosen" if chosen else "Tick one or many, then choose what to do.")
    details(chosen)


page()
