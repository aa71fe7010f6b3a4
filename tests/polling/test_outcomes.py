"""What becomes of a study, and of the poller, for each thing that an archive may do when it is asked: seen here, and written
in docs/reference/outcomes-polling.md. `WRITE_OUTCOMES=1 pytest tests/polling/test_outcomes.py` writes the page anew.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.dicom.network.command import C_FIND_RQ, Command
from engine.dicom.network.identifier import encode_identifier
from engine.dicom.network.pdu import encode_abort
from engine.jobs import polling
from tests.dimse.double import Archive, archive
from tests.dimse.support import CT
from tests.doubles.server import Answer, Asked, serve
from tests.peers import free_port
from tests.polling.support import Site, instance, study_uid
from tests.running import ROOT

PAGE = ROOT / "docs" / "reference" / "outcomes-polling.md"
HEAD = """# What becomes of a study when an archive is asked

Made by `tests/polling/test_outcomes.py`, which polls an archive that has one study of two images, and does each of this when
it is asked what it has (the rows "asked"), or for the study ("fetching"). "Tried again": the study, with growing pauses,
`attempts` times; "fails": it waits for a person (`axiom poll failed`, `axiom poll retry`); "the poller pauses": nothing is
asked or fetched for a while, which grows, or for as long as the archive said. What came before something broke off stays.
"""
TABLE = "\n## {}\n\n| the archive | the study | the poller | in words |\n|---|---|---|---|\n"
JSON = {"Content-Type": "application/dicom+json"}
MULTIPART = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
FOUND = json.dumps([
    {"0020000D": {"vr": "UI", "Value": [study_uid(1)]}, "00201208": {"vr": "IS", "Value": [2]}}
]).encode()  # fmt: skip
STUDY = {0x00080052: "STUDY", 0x0020000D: study_uid(1), 0x00080062: CT, 0x00201208: "2"}
Row = tuple[str, str, str]
Step = Callable[[Archive, Command], None]
WELL = "all is well"


def body(*images: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n" + i + b"\r\n" for i in images) + end


def trouble() -> dict[str, Answer]:
    """What may happen to any request over HTTP."""
    plain = {"Content-Type": "text/plain"}
    out = {str(s): Answer(s, b"Words of its own.", plain) for s in (400, 401, 403, 404, 410, 429, 500, 503)}
    for status in (429, 503):
        out[f"{status} with `Retry-After: 1800`"] = Answer(status, headers={"Retry-After": "1800"})
    out["a page of HTML"] = Answer(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})
    out["302 to its login at another host"] = Answer(302, headers={"Location": "http://login.example.org/"})
    out["silence"] = Answer(silent=True)
    return out


def searches() -> dict[str, Answer]:
    return {
        WELL: Answer(200, FOUND, JSON), "204": Answer(204), "an empty list": Answer(200, b"[]", JSON),
        **trouble(), "half of its answer": Answer(200, FOUND, JSON, cut=40),
        "half of its JSON, in a whole answer": Answer(200, FOUND[:40], JSON),
    }  # fmt: skip


def retrieves() -> dict[str, Answer]:
    one, two = instance(1, 1), instance(1, 2)
    whole = body(one, two)
    return {
        WELL: Answer(200, whole, MULTIPART), **trouble(),
        "one of the two images": Answer(200, body(one), MULTIPART),
        "206, both images": Answer(206, whole, MULTIPART),
        "half a multipart: it breaks off in the second image": Answer(200, whole, MULTIPART, cut=len(whole) - 300),
        "half a multipart: both images, no end": Answer(200, body(one, two, end=b""), MULTIPART),
        "an image that is no DICOM": Answer(200, body(one, b"<html>" * 40), MULTIPART),
        "204": Answer(204),
    }  # fmt: skip


def refusal(status: int) -> Step:
    return lambda one, command: one.answer(command, status, comment="words of its own")


def faults(get: bool) -> dict[str, Step]:
    out: dict[str, Step] = {f"0x{s:04X}": refusal(s) for s in (0xA700, 0xA900, 0xC000, 0x0110, 0x0122, 0x0124, 0x0211)}
    if get:
        out |= {"0xA702": refusal(0xA702), "0xA801": refusal(0xA801)}
        out["success, and no image"] = refusal(0)
        out["one image of two, the other failed (0xB000)"] = _half
        out["one image, and closes"] = _breaks_off
    out["silence"] = silence
    out["closes"] = lambda one, _: one.wire.cut()
    out["closes in the middle of a PDU"] = lambda one, _: one.wire.finish(b"\x04\0\0\0\x10\0\0\0")
    out["aborts"] = lambda one, _: one.wire.finish(encode_abort(0, 0))
    return out


def silence(_: Archive, __: Command) -> None:
    """Nothing is said."""


def _half(one: Archive, command: Command) -> None:
    one.store("1.2.3.1")
    failed = encode_identifier({0x00080058: "1.2.3.2"}, "1.2.840.10008.1.2.1", "")
    one.answer(command, 0xB000, failed, completed=1, failed=1, warning=0)


def _breaks_off(one: Archive, _: Command) -> None:
    one.store("1.2.3.1")
    one.wire.cut()


def poll(site: Site, source: dict[str, Any]) -> Row:
    """One poll of a source of its own, by the engine; what it knows then."""
    name = source["name"]
    site.configure(source)
    site.poll(name)
    state, counts = site.polls.poller(name), site.counts(name)
    words = " ".join(t["words"] for t in site.polls.troubled(name)) or state.error
    study = next((said for key, said in FATES.items() if counts.get(key)), "")
    poller = ""
    if state.not_before is not None:
        rest = (state.not_before - datetime.now(UTC)).total_seconds()
        poller = "pauses" if rest < 1000 else f"pauses {round(rest / 60)} minutes"
    return study, poller, words


FATES = {"fetched": "fetched", "failed": "fails", "retrying": "tried again", "waiting": "waits"}


class Web:
    """A server that finds and gives what it is told to, for each of many roots by its number."""

    def __init__(self) -> None:
        self.url = ""
        self._roots: list[tuple[Answer, Answer]] = []

    def answer(self, asked: Asked) -> Answer:
        found, study = self._roots[int(asked.path.split("/")[1])]
        return found if asked.path.endswith("/studies") else study

    def poll(self, site: Site, found: Answer, study: Answer) -> Row:
        self._roots.append((found, study))
        number = len(self._roots) - 1
        silence = 0.5 if found.silent or study.silent else 60
        return poll(site, web(f"web{number}", f"{self.url}/{number}", silence))


def web(name: str, url: str, silence: float = 60) -> dict[str, Any]:
    return {"name": name, "kind": "dicomweb", "url": url, "quiet_seconds": 0, "http": {"silence_seconds": silence}}


def over_dimse(site: Site, name: str, asked: Step, fetched: Step) -> Row:
    def script(one: Archive, command: Command) -> None:
        (asked if command.field == C_FIND_RQ else fetched)(one, command)

    with archive(script) as port:
        return poll(site, node(name, port, 0.5 if silence in (asked, fetched) else 60))


def node(name: str, port: int, seconds: float = 60) -> dict[str, Any]:
    return {
        "name": name, "kind": "dimse_qr", "host": "127.0.0.1", "port": port, "ae_title": "ARCHIVE", "quiet_seconds": 0,
        "dimse_timeout": seconds,
    }  # fmt: skip


def well(one: Archive, command: Command) -> None:
    one.answer(command, 0xFF00, encode_identifier(STUDY, "1.2.840.10008.1.2.1", ""))
    one.answer(command, 0)


def test_the_page_says_what_happens(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "LINGER_SECONDS", 0.05)
    server = Web()
    with serve(server.answer) as server.url:
        asked = {name: server.poll(site, found, retrieves()[WELL]) for name, found in searches().items()}
        fetched = {name: server.poll(site, searches()[WELL], study) for name, study in retrieves().items()}
    asked["is not there (closed port)"] = poll(site, web("away", f"http://127.0.0.1:{free_port()}"))
    found = {name: over_dimse(site, f"find{i}", step, silence) for i, (name, step) in enumerate(faults(get=False).items())}
    found["is not there (closed port)"] = poll(site, node("gone", free_port()))
    got = {name: over_dimse(site, f"get{i}", well, step) for i, (name, step) in enumerate(faults(get=True).items())}
    text = HEAD
    for title, rows in (
        ("DICOMweb, asked (QIDO-RS)", asked), ("DICOMweb, fetching (WADO-RS)", fetched), ("DIMSE, asked (C-FIND)", found),
        ("DIMSE, fetching (C-GET; C-MOVE the same)", got),
    ):  # fmt: skip
        text += TABLE.format(title)
        text += "".join(f"| {name} | {' | '.join(map(_clean, row))} |\n" for name, row in rows.items())
    if os.environ.get("WRITE_OUTCOMES"):
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text


def _clean(words: str) -> str:
    words = re.sub(r"127\.0\.0\.1:\d+", "pacs:8042", words.replace("|", "\\|"))
    words = re.sub(r"received \d+ bytes, expected \d+", "received N bytes, expected M", words)
    return re.sub(r"127\.0\.0\.1 port \d+", "archive port 11112", words)
