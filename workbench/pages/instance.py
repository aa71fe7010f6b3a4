"""Find an image, and read its whole story: when it came, what each rule said and why, what changed, where it went."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import streamlit as st
from pydicom.datadict import keyword_for_tag

from workbench import parts, signin, trial
from workbench.client import Refused

COLUMNS = {
    "received_at": "Received", "patient_id": "Patient ID", "patient_name": "Patient", "modality": "Modality",
    "study_description": "Study", "accession_number": "Accession", "calling_ae": "From", "outcome": "Outcome",
    "sop_instance_uid": "SOP Instance UID",
}  # fmt: skip


def search() -> None:
    parts.title("Find an image")
    text = st.text_input(
        "Search",
        value=st.query_params.get("q", ""),
        placeholder="Patient ID or name, accession number, any UID, calling AE title",
        label_visibility="collapsed",
        icon=":material/search:",
    )
    if text:
        st.query_params["q"] = text
    rows = latest(text.strip())
    if not rows:
        head = "Nothing was received that fits" if text else "No image was received yet"
        parts.empty(
            head,
            "Search for a patient, an accession number, a UID or a sender."
            if text
            else "As soon as one comes, it is here.",
        )
        return
    st.caption(
        f"{'Found' if text else 'The latest'}: {parts.plural(len(rows), 'image')}. Choose one to read its story."
    )
    shown = [{label: _cell(row, name) for name, label in COLUMNS.items()} for row in rows]
    picked = st.dataframe(
        shown,
        hide_index=True,
        width="stretch",
        height=min(35 * len(shown) + 38, 670),
        on_select="rerun",
        selection_mode="single-row",
        key=f"found-{text}",
        column_config={"SOP Instance UID": st.column_config.TextColumn(width="medium")},
    )
    if picked.selection.rows:
        st.query_params["uid"] = str(rows[picked.selection.rows[0]]["sop_instance_uid"])
        st.rerun()


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    text = parts.clock(value) if name == "received_at" else "" if value is None else str(value)
    return text.replace("^", " ") if name == "patient_name" else text


def story(uid: str) -> None:
    if st.button("Find another", icon=":material/arrow_back:", type="tertiary"):
        del st.query_params["uid"]
        st.rerun()
    try:
        found = signin.client().get(f"/instances/{uid}")
    except Refused as e:
        if e.status != 404:
            raise
        parts.empty(
            "This image is not known here",
            f"No image with the UID {uid} was received, or its history has been retired.",
        )
        return
    receptions = found["receptions"]
    first = receptions[0] if receptions else {}
    who = first.get("patient_name") or first.get("patient_id") or "Image"
    parts.title(str(who).replace("^", " "), uid)
    for i, one in enumerate(receptions):
        if len(receptions) > 1:
            st.html(f"<h3>Received {i + 1} of {len(receptions)}</h3>")
        reception(one)


AGAIN = {"same_bytes": "with the same bytes", "other_bytes": "with other bytes", "other_series": "in another series"}


def reception(one: Mapping[str, Any]) -> None:
    study = {
        "Patient ID": one.get("patient_id"), "Accession": one.get("accession_number"), "Modality": one.get("modality"),
        "Study": one.get("study_description"), "Series": one.get("series_description"), "Study date": one.get("study_date"),
    }  # fmt: skip
    st.html(parts.facts(study))
    kept = {"held": "bad", "unmatched": "wait"}.get(str(one.get("outcome")), "good")
    sender = f"{one.get('calling_ae') or '?'} → {one.get('called_ae') or '?'}"
    about = {
        "Through": one.get("source"), "From": sender, "Address": one.get("source_ip"), "Size": parts.size(one.get("bytes")),
        "Transfer syntax": one.get("transfer_syntax_uid"), "Batch": one.get("batch"),
    }  # fmt: skip
    again = AGAIN.get(str(one.get("duplicate") or ""), "")
    head = f"Received again {again}, and safe on disk" if again else "Received, and safe on disk"
    steps = [parts.step(head, one.get("received_at"), "wait" if again else "good", parts.facts(about))]
    decided = one.get("decisions") or []
    if one.get("outcome") == "held":
        reason = f'<span class="ax-mono">{escape(str(one.get("held_reason") or ""))}</span>'
        steps.append(parts.step("Held: a person must look", one.get("routed_at"), "bad", reason))
    elif one.get("outcome") == "skipped":
        steps.append(parts.step("Skipped, as its source is told to do with duplicates", one.get("routed_at"), "wait"))
    elif one.get("routed_at") or decided:
        matched = sum(bool(d.get("matched")) for d in decided)
        words = f"Decided: {parts.plural(matched, 'rule')} of {len(decided)} matched"
        steps.append(parts.step(words, one.get("routed_at"), kept, f"by revision {one.get('revision', '')}"))
    changes = one.get("changes") or []
    told = [{**d, "changes": changes_of(d, changes)} for d in decided]
    steps += trial.steps(told)
    steps += [delivery(d) for d in one.get("deliveries") or []]
    st.html(f'<div style="margin-top:1.4rem">{parts.time_line(steps)}</div>')
    if one.get("header"):
        with st.expander("The whole header as it came"):
            st.dataframe(header_rows(one["header"]), hide_index=True, width="stretch", height=420)
    if one.get("outcome") in ("held", "unmatched"):
        st.page_link("workbench/pages/held.py", label="To the held images", icon=":material/arrow_forward:")


def header_rows(header: Mapping[str, Any], depth: int = 0) -> list[dict[str, str]]:
    """The header's elements in their order; those of sequences follow their sequence, set in."""
    rows = []
    for tag, element in header.items():
        values = element.get("Value") or []
        nested = [v for v in values if isinstance(v, Mapping)]
        text = parts.plural(len(nested), "item") if nested else "\\".join(str(v) for v in values)
        if "length" in element:
            text = f"{element['length']:,} bytes"
        name = keyword_for_tag(int(tag, 16)) or ""
        shown = f"{'    ' * depth}({tag[:4]},{tag[4:]})"
        rows.append({"Tag": shown, "Name": name, "VR": element.get("vr", ""), "Value": text})
        for item in nested:
            rows += header_rows(item, depth + 1)
    return rows


def changes_of(d: Mapping[str, Any], changes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    mine = [c for c in changes if (c.get("ruleset"), c.get("rule")) == (d.get("ruleset"), d.get("rule"))]
    return mine or list(d.get("changes") or ())


def latest(text: str) -> list[dict[str, Any]]:
    """What the search finds; asked again when the words change or half a minute is over, for each search is audited."""
    held = st.session_state.get("search")
    if held is None or held[0] != text or time.monotonic() - held[2] > 30:
        found = signin.client().get("/instances", q=text, limit=200)
        held = st.session_state["search"] = (text, found, time.monotonic())
    return list(held[1])


def delivery(d: Mapping[str, Any]) -> str:
    said = {
        "confirmed": "has it",
        "retry": "not now: tried again",
        "refused": "refused it",
        "dead": "given up",
        "discarded": "discarded",
        "gathered": "waits for the rest, to get all together",
    }
    outcome = str(d.get("outcome"))
    kind = {"confirmed": "good", "retry": "wait", "gathered": "good"}.get(outcome, "bad")
    words = " ".join(str(d[k]) for k in ("code", "words") if d.get(k))
    if d.get("code") and str(d["words"] or "").startswith(str(d["code"])):
        words = str(d["words"])
    body = f"{escape(words)}<br>" if words else ""
    body += f'<span class="ax-mono ax-quiet">{escape(str(d["location"]))}</span>' if d.get("location") else ""
    head = f"{d.get('destination')} {said.get(outcome, outcome)}"
    chips = parts.chip(f"attempt {d.get('attempt')}", "plain") + parts.chip(outcome, kind)
    return parts.step(head, d.get("at"), kind, body, chips)


if uid := st.query_params.get("uid"):
    story(uid)
else:
    search()
