"""What the data browser's page shows of matches: columns by level, filters as a person fills them in, routes on their way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import streamlit as st

from workbench import parts, signin
from workbench.client import Refused
from workbench.condition import tag_input

__all__ = [
    "BELOW", "LEVELS", "MODALITIES", "WHEN", "columns_of", "filters_form", "label_of", "routes", "shown_name", "value",
]  # fmt: skip

LEVELS = {"patient": "Patients", "study": "Studies", "series": "Series", "instance": "Images"}
BELOW = {"patient": "study", "study": "series", "series": "instance"}
MODALITIES = ["CT", "MR", "CR", "DX", "US", "MG", "PT", "NM", "XA", "RF", "SR", "SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "OT"]
WHEN = {
    "any time": "", "today": "today", "yesterday": "yesterday", "last 7 days": "-7d..", "last 30 days": "-30d..",
    "last year": "-365d..",
}  # fmt: skip

Match = Mapping[str, Any]
Cell = Callable[[Match], Any]

TAGS = {
    "PatientID": "00100020", "PatientName": "00100010", "PatientBirthDate": "00100030", "PatientSex": "00100040",
    "StudyDate": "00080020", "StudyTime": "00080030", "ModalitiesInStudy": "00080061", "StudyDescription": "00081030",
    "AccessionNumber": "00080050", "NumberOfStudyRelatedSeries": "00201206", "SeriesNumber": "00200011",
    "Modality": "00080060", "SeriesDescription": "0008103E", "InstanceNumber": "00200013", "SOPClassUID": "00080016",
    "SOPInstanceUID": "00080018",
}  # fmt: skip


def value(match: Match, name: str) -> str:
    """A tag's values as a person reads them."""
    values = match.get("attributes", {}).get(TAGS[name], {}).get("Value", [])
    text = "/".join(str(v) for v in values)
    if name.endswith("Date") and len(text) == 8 and text.isdigit():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    if name.endswith("Time") and text[:4].isdigit():
        return f"{text[:2]}:{text[2:4]}"
    return text


def shown_name(match: Match) -> str:
    """The groups of a name side by side, each without its carets."""
    groups = [" ".join(group.replace("^", " ").split()) for group in value(match, "PatientName").split("=")]
    return " · ".join(g for g in groups if g)


def label_of(match: Match) -> str:
    """A match in a few words: for the way down, and for what is being fetched."""
    who = shown_name(match) or value(match, "PatientID")
    study = " ".join(filter(None, (value(match, "StudyDate"), value(match, "StudyDescription"))))
    series = " ".join(
        filter(None, (value(match, "SeriesNumber"), value(match, "Modality"), value(match, "SeriesDescription")))
    )
    image = f"Image {value(match, 'InstanceNumber')}".strip()
    by_level = {"patient": who, "study": ", ".join(filter(None, (who, study))), "series": series, "instance": image}
    return by_level[match["level"]] or match["study_instance_uid"] or "one"


def _images(match: Match) -> Any:
    return match.get("instances")


def _tag(name: str) -> Cell:
    return lambda match: value(match, name)


COLUMNS: dict[str, dict[str, Cell]] = {
    "patient": {
        "Patient": shown_name, "Patient ID": _tag("PatientID"), "Born": _tag("PatientBirthDate"), "Sex": _tag("PatientSex"),
    },
    "study": {
        "Patient": shown_name, "Patient ID": _tag("PatientID"), "Date": _tag("StudyDate"), "Time": _tag("StudyTime"),
        "Modality": _tag("ModalitiesInStudy"), "Description": _tag("StudyDescription"),
        "Accession": _tag("AccessionNumber"), "Series": _tag("NumberOfStudyRelatedSeries"), "Images": _images,
    },
    "series": {
        "No.": _tag("SeriesNumber"), "Modality": _tag("Modality"), "Description": _tag("SeriesDescription"),
        "Images": _images, "Series Instance UID": lambda m: m["series_instance_uid"],
    },
    "instance": {
        "No.": _tag("InstanceNumber"), "SOP Class": _tag("SOPClassUID"), "SOP Instance UID": _tag("SOPInstanceUID"),
    },
}  # fmt: skip


def columns_of(level: str, matches: Sequence[Match]) -> dict[str, Cell]:
    """The columns of a level; those in which no match has anything are left out."""
    found = {label: cell for label, cell in COLUMNS[level].items() if any(cell(m) not in ("", None) for m in matches)}
    return found or COLUMNS[level]


def filters_form(level: str) -> dict[str, str]:
    """The filters as they are filled in: tag -> what is sought."""
    a, b, c, d = st.columns([2, 3, 2, 2])
    found = {
        "PatientID": a.text_input("Patient ID", key="browse-id", placeholder="123 or 12*"),
        "PatientName": b.text_input("Patient name", key="browse-name", placeholder="DOE* or *王*"),
    }
    if level != "patient":
        found["AccessionNumber"] = c.text_input("Accession number", key="browse-accession")
        when = d.selectbox(
            "Study date", list(WHEN), key="browse-when", accept_new_options=True,
            help="Or type: 20260131, 20260101-20260131, -2d, -14d..-7d",
        )  # fmt: skip
        found["StudyDate"] = WHEN.get(str(when), str(when or ""))
        tag = "ModalitiesInStudy" if level == "study" else "Modality"
        picked = st.pills("Modality", MODALITIES, key="browse-modality", label_visibility="collapsed")
        found[tag] = str(picked or "")
    with st.expander("Another tag"):
        left, right = st.columns(2)
        with left:
            path = tag_input(signin.client(), "Tag", "", "browse-tag", visible=True)
        other = right.text_input("Value", key="browse-value", placeholder="a value, ABC* or a range")
    if path and other.strip():
        found[path] = other
    return {tag: text.strip() for tag, text in found.items() if text.strip()}


@parts.live(2.0)
def routes() -> None:
    """What was chosen to be fetched, the newest first: how far each is, and what went wrong in the peer's words."""
    found = signin.client().get("/data-browser/routes", limit=10)
    if not found:
        return
    st.html("<h3>On their way through the rules</h3>")
    labels: dict[str, dict[str, str]] = st.session_state.setdefault("browse-labels", {})
    st.html(f'<div class="ax-rows">{"".join(_line(one, labels.get(one["id"], {})) for one in found)}</div>')
    troubled = [one for one in found if one["failed"] or one["state"] == "running"]
    if troubled and st.toggle("Show each of them", key="browse-each"):
        for one in troubled[:3]:
            _each(one["id"], labels.get(one["id"], {}))



def _line(one: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    what = next(iter(labels.values()), "") if len(labels) == 1 else ""
    left = f"<b>{escape(what or parts.plural(one['total'], 'entry', 'entries'))}</b> "
    left += f'<span class="ax-quiet">from {escape(one["source"])} · {parts.ago(one["at"])} · {escape(one["who"])}</span>'
    kind = {"running": "wait", "done": "good"}.get(one["state"], "bad")
    share = 100 * (one["fetched"] + one["failed"]) / max(1, one["total"])
    left += f'<div class="ax-bar ax-{kind}" style="margin:.3rem 0 .1rem"><i style="width:{share:.0f}%"></i></div>'
    right = f"{one['fetched']:,} of {one['total']:,} · {parts.plural(one['received'], 'image')}"
    return parts.row(left, right, parts.chip({"running": "on the way", "done": "fetched"}.get(one["state"], "failed"), kind))


def _each(route: str, labels: Mapping[str, str]) -> None:
    try:
        one = signin.client().get(f"/data-browser/routes/{route}")
    except Refused as e:
        parts.say(e)
        return
    kinds = {"fetched": "good", "failed": "bad", "gone": "bad", "waiting": "idle"}
    lines = []
    for item in one["items"][:50]:
        uid = item["sop_instance_uid"] or item["series_instance_uid"] or item["study_instance_uid"]
        name = f'{escape(labels.get(uid, ""))}<br>' if labels.get(uid) else ""
        count = f"{item['received']:,}" + (f" of {item['expected']:,}" if item["expected"] else "")
        chip = parts.chip(item["state"], kinds.get(item["state"], "wait"))
        lines.append((f'{name}<span class="ax-mono ax-quiet">{escape(uid)}</span>', chip, count, escape(item["words"])))
    st.html(parts.table((f"From {one['source']}", "", "Images", ""), lines))
