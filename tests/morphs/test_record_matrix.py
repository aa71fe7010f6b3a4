"""Each kind of morph on flat, nested, private, multi-valued and non-ASCII values of a valid image: the record of what was, read
back with pydicom and with DCMTK, and no error that dciodvfy did not find before (PS3.3 C.12.1.1.9)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from engine.component import kinds
from engine.configuration import load_configuration
from engine.crosswalk.lookup import Crosswalks, Lookups
from engine.dicom.header import Header
from engine.dicom.paths import TagPath
from engine.morphs.apply import Changed, Event, change
from engine.morphs.memo import ChangeMemo
from tests.dicom.samples import as_file, sample
from tests.morphs.samples import AT, outcome
from tests.morphs.test_original_attributes import errors, read, tool

CREATOR = "AXIOM TEST"
R, C = "RequestAttributesSequence", "ContributingEquipmentSequence"
KEY = {"key": "env:TEST_MORPH_KEY"}
ROWS = {
    "Head": "Skull", "Chest": "Thorax", "private": "other", "Doe^Jane": "Roe^Ann", "Doe^J": "Roe^A", "Größe": "Łokieć",
}  # fmt: skip


def private(element: str) -> str:
    return f'(0041,"{CREATOR}",{element})'


FLAT, NESTED, PRIVATE = "StudyDescription", f"{R}[1].ScheduledProcedureStepDescription", private("01")
SEVERAL, ACCENTS = "OtherPatientNames", "PatientComments"
TEXTS = {"flat": FLAT, "nested": NESTED, "private": PRIVATE, "multi-valued": SEVERAL, "non-ASCII": ACCENTS}
TO = {
    "flat": "ProtocolName", "nested": f"{R}[0].ScheduledProcedureStepDescription", "private": private("04"),
    "multi-valued": private("04"), "non-ASCII": "AdditionalPatientHistory",
}  # fmt: skip
DATES = {
    "flat": "StudyDate", "nested": f"{C}[*].ContributionDateTime", "private": private("02"),
    "multi-valued": "DateOfLastCalibration", "non-ASCII": f"{C}[0].ContributionDateTime",
}  # fmt: skip
UIDS = {
    "flat": "StudyInstanceUID", "nested": "ReferencedImageSequence[*].ReferencedSOPInstanceUID", "private": private("03"),
    "multi-valued": "IrradiationEventUID", "non-ASCII": f"{C}[0].DeviceUID",
}  # fmt: skip
VALUES = {"multi-valued": "Roe^Ann\\Roe^Bob\\Roe^Cy", "non-ASCII": "Łokieć"}


def _cases() -> list[Any]:
    made: list[tuple[str, str, dict[str, Any]]] = []
    for shape, tag in TEXTS.items():
        made += [
            ("set", shape, {"tag": tag, "value": VALUES.get(shape, "new")}),
            ("delete", shape, {"tag": tag}),
            ("prepend", shape, {"tag": tag, "value": "Ż" if shape == "non-ASCII" else "H1-"}),
            ("suffix", shape, {"tag": tag, "value": "Ż" if shape == "non-ASCII" else "-2"}),
            ("regex_replace", shape, {"tag": tag, "pattern": "[aeö]+", "replacement": "i"}),
            ("copy", shape, {"tag": tag, "to": TO[shape]}),
            ("move", shape, {"tag": tag, "to": TO[shape]}),
            ("shift_dates", shape, {"tag": DATES[shape], "days": -30}),
            ("remap_uid", shape, {"tag": UIDS[shape]} | KEY),
            ("crosswalk", shape, {"map": "m", "tag": tag}),
        ]
    return [pytest.param(kind, config, id=f"{kind} {shape}") for kind, shape, config in made]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CT image with a value of every shape."""
    ds = pydicom.dcmread(sample("CT_small.dcm"))
    ds.StudyDescription, ds.ProtocolName, ds.PatientComments, ds.AdditionalPatientHistory = "Head", "Routine", "Größe", "Höhe"
    ds.OtherPatientNames = ["Doe^Jane", "Doe^J"]
    ds.DateOfLastCalibration, ds.TimeOfLastCalibration = ["20260101", "20260201"], ["1000", "1100"]
    ds.IrradiationEventUID = ["1.2.3.1", "1.2.3.2"]
    ds.RequestAttributesSequence = Sequence(_item(ScheduledProcedureStepID=s, ScheduledProcedureStepDescription=d)
                                            for s, d in (("S1", "Head"), ("S2", "Chest")))  # fmt: skip
    ds.ReferencedImageSequence = Sequence(_item(ReferencedSOPClassUID=ds.SOPClassUID, ReferencedSOPInstanceUID=f"1.2.3.4.{n}")
                                          for n in (1, 2))  # fmt: skip
    purpose = _item(CodeValue="109103", CodingSchemeDesignator="DCM", CodeMeaning="Modifying Equipment")
    ds.ContributingEquipmentSequence = Sequence(
        _item(Manufacturer="Gerätebau", DeviceUID=f"1.2.3.5.{n}", ContributionDateTime=f"2026010{n}101112",
              PurposeOfReferenceCodeSequence=Sequence([purpose])) for n in (1, 2))  # fmt: skip
    block = ds.private_block(0x0041, CREATOR, create=True)
    for element, vr, value in ((1, "LO", "private"), (2, "DA", "20260228"), (3, "UI", "1.2.3.6"), (4, "LO", "target")):
        block.add_new(element, vr, value)
    path = tmp_path_factory.mktemp("matrix") / "in.dcm"
    ds.save_as(path)
    return path


def _item(**elements: Any) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


@pytest.fixture(scope="module")
def errors_before(image: Path) -> set[str]:
    return errors(image)


def _changed(head: Header, kind: str, config: dict[str, Any], folder: Path) -> Changed:
    config = dict(config)
    lookups = None
    if kind == "crosswalk":
        (folder / "map.csv").write_text("old,new\n" + "".join(f"{a},{b}\n" for a, b in ROWS.items()), encoding="utf-8")
        tag = config.pop("tag")
        made = load_configuration({
            "crosswalk_sources": [{"name": "s", "kind": "csv", "path": str(folder / "map.csv")}],
            "crosswalk_maps": [{"name": "m", "source": "s", "match": {tag: "old"}, "replace": {tag: "new"}}],
        })  # fmt: skip
        lookups = Lookups(Crosswalks(made.crosswalk_maps, made.crosswalk_sources, None))
    one: Any = kinds("morph")[kind].model_validate(config)
    chain, event, memo = [one], Event(True, "AXIOM", AT, "CT01"), ChangeMemo(lookups)
    changed = change(head, chain, event, lookups)
    for _ in range(2):  # changed anew, and as remembered
        assert outcome(memo.change(Header.read(head.path), chain, event)) == outcome(changed)
    anew = kind == "deidentify" or any(change.tag == "00080005" for change in changed.changes)
    assert bool(memo._known) != anew
    return changed


@pytest.mark.parametrize(("kind", "config"), _cases())
def test_the_record_of_each_kind_on_each_shape(
    kind: str, config: dict[str, Any], image: Path, errors_before: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_MORPH_KEY", "a secret of this test")
    head = Header.read(image)
    changed = _changed(head, kind, config, tmp_path)
    out = tmp_path / "out.dcm"
    out.write_bytes(as_file(changed.header))
    before, after = read(head), read(changed.header)
    (item,) = after.OriginalAttributesSequence
    (prior,) = item.ModifiedAttributesSequence
    tops = {_top(before, c.path) for c in changed.changes}
    assert tops
    for top in tops:
        assert prior[top] == before[top] != after.get(top)
    assert (item.ModifyingSystem, item.SourceOfPreviousValues) == ("AXIOM", "CT01")
    assert item.ReasonForTheAttributeModification == "COERCE"
    dump = tool("dcmdump", "+L", str(out))
    assert "E:" not in dump
    record = dump[dump.index("(0400,0550)"):dump.index("(0400,0562)")]
    for top in tops:
        assert f"({top >> 16:04x},{top & 0xFFFF:04x})" in record
    assert errors(out) <= errors_before


def _top(ds: Dataset, path: str) -> int:
    step = TagPath.parse(path).steps[0]
    return step.tag if step.tag is not None else int(ds.private_block(step.group, step.creator).get_tag(step.element))
