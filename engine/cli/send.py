"""`axiom send`: send files to a DICOM node, as a destination would."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.show import AsJson, emit, example, fail, note, settings

if TYPE_CHECKING:
    from engine.model import Receipt

__all__ = ["add", "send_files"]


def add(app: typer.Typer) -> None:
    app.command(epilog=example("axiom send study/", "axiom send a.dcm --host pacs --port 104 --called-ae PACS"))(send)


def send_files(
    files: Iterable[Path],
    *,
    host: str,
    port: int,
    calling_ae: str,
    called_ae: str,
    report: Callable[[Path, Receipt], None],
    stop: threading.Event | None = None,
) -> list[tuple[Path, str]]:
    """Send files over one association; `report` is called for each with the peer's answer.

    Returns the files that are no DICOM that can be sent, with why. Raises Retry when the peer cannot be reached or
    breaks off, Permanent when it refuses the association.
    """
    from engine.destinations.base import Outgoing
    from engine.destinations.dimse import Dimse
    from engine.dicom.header import Header
    from engine.errors import Hold

    outgoing, sent, refused = list[Outgoing](), list[Path](), list[tuple[Path, str]]()
    for file in files:
        try:
            header = Header.read(file)
        except Hold as e:
            refused.append((file, str(e)))
            continue
        outgoing.append(
            Outgoing(
                index=len(outgoing),
                sop_class_uid=header.sop_class_uid,
                sop_instance_uid=header.sop_instance_uid,
                transfer_syntax_uid=header.transfer_syntax_uid,
                head=header.head,
                data_set=header.data_set,
                tags=header,
            )
        )
        sent.append(file)
    peer = Dimse(name="peer", host=host, port=port, ae_title=called_ae, calling_ae_title=calling_ae)
    if outgoing:

        def tell(*receipts: Receipt) -> None:
            for receipt in receipts:
                report(sent[receipt.index], receipt)

        peer.deliver(outgoing, tell, stop or threading.Event())
    return refused


def send(
    files: Annotated[list[Path], typer.Argument(help="Files, or folders with all that is in them.")],
    host: Annotated[str, typer.Option(help="The peer's name or address.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Its port; without it AXIOM_DIMSE_PORT (11112).")] = None,
    called_ae: Annotated[str, typer.Option("--called-ae", help="Its AE title.")] = "AXIOM",
    calling_ae: Annotated[str, typer.Option("--calling-ae", help="Our AE title.")] = "AXIOMSEND",
    as_json: AsJson = False,
) -> None:
    """Send DICOM files by C-STORE over one association. Exit 0 only when the peer has every one of them."""
    from pydantic import ValidationError

    results: list[dict[str, Any]] = []

    def report(file: Path, receipt: Receipt) -> None:
        outcome = str(receipt.outcome)
        results.append({"file": str(file), "outcome": outcome, "code": receipt.code, "words": receipt.words})
        if outcome != "confirmed" and not as_json:
            note(f"{file}: {receipt.code} {receipt.words}")

    wanted = _expand(files)
    try:
        bad = send_files(
            wanted, host=host, port=port or settings().dimse_port, calling_ae=calling_ae, called_ae=called_ae, report=report
        )
    except ValidationError as e:
        fail("; ".join(f"{p['loc'][0]}: {p['msg']}" for p in e.errors()), 2)
    for file, why in bad:
        results.append({"file": str(file), "outcome": "unreadable", "code": "", "words": why})
        if not as_json:
            note(f"{file}: {why}")
    confirmed = sum(r["outcome"] == "confirmed" for r in results)
    if as_json:
        emit(results)
    else:
        typer.echo(f"{confirmed} of {len(wanted)} sent.")
    if confirmed < len(wanted):
        raise typer.Exit(1)


def _expand(files: Iterable[Path]) -> list[Path]:
    out: list[Path] = []
    for file in files:
        if file.is_dir():
            out += sorted(p for p in file.rglob("*") if p.is_file() and p.name.upper() != "DICOMDIR")
        elif file.exists():
            out.append(file)
        else:
            fail(f"There is no file {file}.")
    if not out:
        fail("There is nothing to send.")
    return out
