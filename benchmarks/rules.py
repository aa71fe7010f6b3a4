"""What rules cost: deciding and changing a CT image (`whatif.py`: asking history what a draft would have done).

    python -m benchmarks.rules [--rounds 200] [--images 200]

20 rules of 5 leaves and 4 changes with the real rulebook and morphs, against dcmread, the same changes and save_as, each
on the next image of many. Once the images are those of one series: UIDs, numbers, positions, times and pixels differ from
image to image, and what rules ask and morphs change mostly does not, so that verdicts, changes and layouts are remembered
(`engine/rules/memo.py`, `engine/morphs/memo.py`, `engine/dicom/layout.py`). And once each image is of another patient, and
every rule is asked anew: the dearest case.
Each leaves on disk what it has to leave there, without fsync: we the new header bytes (the plan's blob, whose references to
the received file stand for the pixel data), pydicom the file. Rounds alternate, and the median of their ratios is what
counts: that of a series, 15 wanted. The same into memory, by processor time, is told beside it: what the file system does
is not in it.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from benchmarks.header_edit import ct
from engine.configuration import load_configuration
from engine.dicom.header import Header
from engine.model import Association, Change
from engine.morphs.apply import Event
from engine.morphs.memo import ChangeMemo
from engine.rules.decide import Changer, Rulebook
from engine.rules.model import Rule

Made = tuple[Header, tuple[Change, ...], tuple[str, ...]]
NOW = datetime.now(UTC)
SENDER = Association("modalities", "dimse_listener", "CT01", "AXIOM", "10.1.2.3")
MORPHS = [
    {"kind": "set", "tag": "InstitutionName", "value": "Axiom"},
    {"kind": "prepend", "tag": "PatientID", "value": "H1-"},
    {"kind": "set", "tag": "StationName", "value": "CT7"},
    {"kind": "delete", "tag": "PatientAge"},
]


def _rule(number: int, **more: Any) -> dict[str, Any]:
    """Five leaves; all hold but the last, save in the last rule."""
    last = (
        {"tag": "PatientID", "op": "not_regex", "value": "^TEST"}
        if more
        else {"tag": "PatientID", "op": "eq", "value": str(number)}
    )
    leaves = [
        {"tag": "Modality", "op": "in", "value": ["CT", "PT"]},
        {"tag": "SliceThickness", "op": "gt", "value": number / 100},
        {"tag": "StudyDate", "op": "ge", "value": f"200{number % 4}"},
        {"tag": "Rows", "op": "ge", "value": number},
        last,
    ]
    return {"name": f"r{number}", "priority": number, "destinations": ["d"], "when": {"all": leaves}, **more}


LEAST = 15.0


def images(folder: Path, count: int, *, one_series: bool) -> list[Path]:
    """CT images as a scanner sends them: of one series, else each of another patient."""
    folder.mkdir()
    ds = pydicom.dcmread(ct(folder / "0.dcm", ExplicitVRLittleEndian))
    for n in range(count):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.InstanceNumber, ds.SliceLocation, ds.ImagePositionPatient = n + 1, n * 2.5, [-125, -125, n * 2.5]
        ds.ContentTime = f"1030{n // 60 % 60:02d}.{n % 60:02d}"
        ds.PixelData = n.to_bytes(2, "little") * (512 * 512)
        if not one_series:
            ds.PatientID, ds.PatientName = f"P{n}", f"Doe^{n}"
            ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
        ds.save_as(folder / f"{n}.dcm")
    return [folder / f"{n}.dcm" for n in range(count)]


def main(rounds: int, count: int) -> str | int:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        series = decide_and_change(base / "series", "one series", images(base / "in", count, one_series=True), rounds)
        others = images(base / "others", count, one_series=False)
        decide_and_change(base / "patients", "each of another patient", others, rounds)
    return 0 if series >= LEAST else f"only {series:.1f} times faster: {LEAST:g} are wanted"


def decide_and_change(folder: Path, what: str, paths: list[Path], rounds: int) -> float:
    """Tells both figures; returns how many times faster we are with what each leaves on disk."""
    rules = [_rule(n) for n in range(19)] + [_rule(19, morphs=MORPHS)]
    document = {
        "destinations": [{"name": "d", "kind": "nothing"}],
        "rulesets": [{"name": "main", "priority": 1, "rules": rules}],
    }
    rulesets = load_configuration(document).rulesets
    folder.mkdir()

    event = Event(True, "AXIOM", NOW, SENDER.calling_ae)

    def arriving() -> Iterator[tuple[Rulebook, Changer, Path]]:
        while True:
            book, memo = Rulebook(rulesets, []), ChangeMemo()  # anew: what comes round again is not what they remember

            def changer(rule: Rule, header: Header, memo: ChangeMemo = memo) -> Made:
                changed = memo.change(header, rule.morphs, event)
                return changed.header, changed.changes, changed.warnings

            yield from ((book, changer, path) for path in paths)

    arrives, arrives_there = arriving(), itertools.cycle(paths)

    def ours() -> Header:
        book, changer, path = next(arrives)
        (branch,) = book.decide(Header.read(path), SENDER, NOW, changer).branches
        assert len(branch.changes) == 4
        return branch.header

    def ours_on_disk() -> None:
        header = ours()
        blob.writelines(p for p in (header.head, *header.data_set.pieces) if isinstance(p, bytes))
        blob.flush()

    def theirs(target: Path | BytesIO) -> None:
        ds = pydicom.dcmread(next(arrives_there))
        ds.InstitutionName, ds.PatientID, ds.StationName = "Axiom", f"H1-{ds.PatientID}", "CT7"
        del ds.PatientAge
        ds.save_as(target)

    names = itertools.count()
    with (folder / "blob").open("wb") as blob:  # one a batch
        a, b, ratio = _compare(ours_on_disk, lambda: theirs(folder / f"{next(names)}.dcm"), rounds, time.perf_counter)
    print(f"{what}: decide (20 rules of 5 leaves) and change (4): {a:.0f} us; dcmread, change, save_as: {b:.0f} us; {ratio:.1f}x")
    for path in folder.iterdir():  # half a megabyte each
        path.unlink()
    a, b, memory = _compare(ours, lambda: theirs(BytesIO()), rounds, time.thread_time)
    print(f"{what}: the same into memory, processor time: {a:.0f} us; {b:.0f} us; {memory:.1f}x")
    return ratio


def _compare(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int, clock: Callable[[], float]
) -> tuple[float, float, float]:
    """Microseconds of both, and the median of their ratios."""
    ours(), theirs()
    pairs = [(_took(ours, 5, clock), _took(theirs, 3, clock)) for _ in range(rounds)]
    ratio = statistics.median(b / a for a, b in pairs)
    a, b = (statistics.median(times) * 1e6 for times in zip(*pairs, strict=True))
    return a, b, ratio


def _took(work: Callable[[], object], times: int, clock: Callable[[], float]) -> float:
    """Seconds for one: the quickest of a few."""
    found = []
    for _ in range(times):
        begun = clock()
        work()
        found.append(clock() - begun)
    return min(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--images", type=int, default=200)
    args = parser.parse_args()
    raise SystemExit(main(args.rounds, args.images))
