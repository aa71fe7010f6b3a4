"""`axiom browse`: what a source has, and fetching it through the rules."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.show import AsJson, emit, example, fail, note, operations, operator, table

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["add"]

COLUMNS = {
    "patient": ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    "study": (
        "PatientID", "PatientName", "StudyDate", "ModalitiesInStudy", "StudyDescription", "AccessionNumber",
        "StudyInstanceUID",
    ),
    "series": ("SeriesNumber", "Modality", "SeriesDescription", "StudyInstanceUID", "SeriesInstanceUID"),
    "instance": ("InstanceNumber", "SOPClassUID", "SeriesInstanceUID", "SOPInstanceUID"),
}  # fmt: skip
LOOK_SECONDS = 0.5


def add(app: typer.Typer) -> None:
    lines = ("axiom browse pacs PatientID=123 --level study", "axiom browse pacs StudyDate=-1d --route")
    app.command(epilog=example(*lines))(browse)


def browse(
    source: Annotated[str, typer.Argument(help="The source that is asked.")],
    filters: Annotated[
        list[str] | None, typer.Argument(help="TAG=VALUE: a value, DOE*, 20260101-20260131, -1d, -7d..")
    ] = None,
    level: Annotated[str, typer.Option(help="patient, study, series or instance.")] = "study",
    field: Annotated[list[str] | None, typer.Option(help="A tag wanted besides the usual ones; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=5000, help="At most so many matches.")] = 100,
    offset: Annotated[int, typer.Option(min=0, help="Pass over so many first.")] = 0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Give up after so many seconds.")] = 60.0,
    route: Annotated[bool, typer.Option("--route", help="Fetch what is found and send it through the rules.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a source (DICOM archive, DICOMweb server, Google) what it has; with --route, fetch it through the rules.

    A fetch that has begun goes on in the engine when this command is ended.
    """
    ops = operations()
    asked = _filters(filters or [])
    detail = {"level": level, "sought": sorted(asked)}
    ops.store.audit.write(who=operator(), action="query-patients", family="sources", name=source, detail=detail)
    answer = ops.browse(source, level, asked, field or [], limit=limit, offset=offset, seconds=timeout)
    if not route:
        _show(answer, field or [], as_json=as_json)
        return
    if answer["words"] or answer["more"]:
        fail(answer["words"] or f"There are more than {limit}: nothing was fetched. Narrow the filters, or raise --limit.")
    if not answer["matches"]:
        fail("Nothing was found, so there is nothing to fetch.")
    made = ops.route_selected(source, answer["matches"], operator())
    done = _follow(ops, made)
    if as_json:
        emit(done)
    else:
        for item in done["items"]:
            uid = item["sop_instance_uid"] or item["series_instance_uid"] or item["study_instance_uid"]
            typer.echo(f"{uid}: {item['state']}, {item['received']} images{': ' + item['words'] if item['words'] else ''}")
    if done["state"] != "done":
        raise typer.Exit(1)


def _filters(texts: Sequence[str]) -> dict[str, str]:
    out = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals:
            fail(f"{text}: write TAG=VALUE, such as PatientID=123 (TAG= for any value).", 2)
        out[path.strip()] = value
    return out


def _show(answer: Mapping[str, Any], fields: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        emit(answer)
        return
    columns = (*COLUMNS.get(answer["level"], ()), *fields)
    rows = [{column: _text(match, column) for column in columns} for match in answer["matches"]]
    if answer["level"] in ("study", "series"):
        for shown, match in zip(rows, answer["matches"], strict=True):
            shown["images"] = "" if match["instances"] is None else str(match["instances"])
    table(rows, None, "Nothing was found.")
    if answer["words"]:
        note(answer["words"])
    if answer["more"]:
        note(f"There are more (--limit, --offset {answer['offset'] + answer['limit']}).")


def _text(match: Mapping[str, Any], column: str) -> str:
    from engine.sources._query import Match

    values = Match(match["level"], match["attributes"])
    return values.text(column) if column != "ModalitiesInStudy" else "/".join(
        str(v) for v in match["attributes"].get("00080061", {}).get("Value", ())
    )  # fmt: skip


def _follow(ops: Operations, route: dict[str, Any]) -> dict[str, Any]:
    """Until it has ended; what changes is said on the way."""
    said = ""
    while True:
        now = ops.selected_route(route["id"])
        words = f"{now['fetched']} of {now['total']} fetched, {now['received']} images"
        trouble = next((i["words"] for i in now["items"] if i["state"] == "retrying"), "")
        words += f"; {trouble}" if trouble else ""
        if words != said:
            note(words)
            said = words
        if now["state"] != "running":
            return now
        time.sleep(LOOK_SECONDS)
