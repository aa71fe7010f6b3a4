"""The morph on headers: every value, every item, private tags, misses, and the record of what was before."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from engine.component import kinds
from engine.configuration import load_configuration
from engine.crosswalk.cache import Cache
from engine.crosswalk.lookup import Crosswalks, Lookups
from engine.dicom.header import Header
from engine.errors import Hold, Invalid
from engine.morphs.apply import Changed, Event, change
from tests.crosswalk.tables import Table
from tests.flow.road import instance

AT = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def csv_table(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "map.csv"
    lines = ["mrn,site,pseudonym,alias", "P1,H1,A1,Nobody^One", "P2,H1,A2,Nobody^Two", "P1,H2,B1,Other^One", "Ü,H1,A3,Jörg^Ж"]
    path.write_text("\n".join(lines), encoding="utf-8")
    return {"name": "mrn", "kind": "csv", "path": str(path)}


def _header(tmp_path: Path, **tags: Any) -> Header:
    path = tmp_path / "in.dcm"
    path.write_bytes(instance("1.2.3"))
    if tags:
        ds = pydicom.dcmread(path)
        for key, value in tags.items():
            setattr(ds, key, value)
        ds.save_as(path)
    return Header.read(path)


def _change(header: Header, source: dict[str, Any], cache: Cache | None = None, **of_map: Any) -> Changed:
    match = {"PatientID": "mrn", "InstitutionName": "site"}
    one = {"name": "m", "source": "mrn", "match": match, "replace": {"PatientID": "pseudonym"}}
    configuration = load_configuration({"crosswalk_sources": [source], "crosswalk_maps": [one | of_map]})
    lookups = Lookups(Crosswalks(configuration.crosswalk_maps, configuration.crosswalk_sources, cache))
    morph = kinds("morph")["crosswalk"].model_validate({"map": "m"})
    return change(header, [morph], Event(True, "AXIOM", AT), lookups)  # type: ignore[list-item]


def test_several_columns_and_several_tags_with_the_record_of_before(csv_table: dict[str, Any], tmp_path: Path) -> None:
    header = _header(tmp_path, InstitutionName="H2")
    changed = _change(header, csv_table, replace={"PatientID": "pseudonym", "PatientName": "alias"})
    assert changed.header.text("PatientID") == "B1"
    assert changed.header.text("PatientName") == "Other^One"
    ds = changed.header.to_dataset()
    before = ds.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert (before.PatientID, str(before.PatientName)) == ("P1", "Doe^Jane")
    assert {c.morph for c in changed.changes} == {"crosswalk"}


def test_every_value_of_a_tag_with_several_is_replaced(csv_table: dict[str, Any], tmp_path: Path) -> None:
    header = _header(tmp_path, OtherPatientNames=["P2", "P1"], InstitutionName="H1")
    of_map = {"match": {"OtherPatientNames": "mrn", "InstitutionName": "site"}, "replace": {"OtherPatientNames": "alias"}}
    changed = _change(header, csv_table, **of_map)
    assert changed.header.to_dataset().OtherPatientNames == ["Nobody^Two", "Nobody^One"]


def test_with_several_values_a_miss_keeps_its_own_place(csv_table: dict[str, Any], tmp_path: Path) -> None:
    header = _header(tmp_path, OtherPatientNames=["P2", "X", "P1"], InstitutionName="H1")
    of_map = {"match": {"OtherPatientNames": "mrn", "InstitutionName": "site"}, "replace": {"OtherPatientNames": "alias"}}
    assert _change(header, csv_table, on_miss="keep", **of_map).header.to_dataset().OtherPatientNames == [
        "Nobody^Two", "X", "Nobody^One",
    ]  # fmt: skip
    with pytest.raises(Hold, match="no row for OtherPatientNames 'X'"):
        _change(header, csv_table, **of_map)


def test_each_item_of_a_sequence_has_its_own_answer(csv_table: dict[str, Any], tmp_path: Path) -> None:
    items = []
    for value in ("P2", "P1"):
        item = Dataset()
        item.PatientID = value
        items.append(item)
    header = _header(tmp_path, OtherPatientIDsSequence=items, InstitutionName="H1")
    tag = "OtherPatientIDsSequence[*].PatientID"
    changed = _change(header, csv_table, match={tag: "mrn", "InstitutionName": "site"}, replace={tag: "pseudonym"})
    assert [i.PatientID for i in changed.header.to_dataset().OtherPatientIDsSequence] == ["A2", "A1"]
    untouched = _header(tmp_path)
    assert _change(untouched, csv_table, match={tag: "mrn"}, replace={tag: "pseudonym"}).header is untouched


def test_private_tags_are_matched_and_replaced(csv_table: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "in.dcm"
    _header(tmp_path)
    ds = pydicom.dcmread(path)
    block = ds.private_block(0x0029, "AXIOM TEST", create=True)
    block.add_new(0x10, "LO", "P2")
    ds.save_as(path)
    tag = '(0029,"AXIOM TEST",10)'
    changed = _change(Header.read(path), csv_table, match={tag: "mrn"}, replace={tag: "pseudonym"})
    assert changed.header.text(tag) == "A2"


def test_text_outside_of_the_character_set_turns_the_data_set(csv_table: dict[str, Any], tmp_path: Path) -> None:
    header = _header(tmp_path, SpecificCharacterSet="ISO_IR 100", PatientID="Ü", InstitutionName="H1")
    changed = _change(header, csv_table, replace={"PatientName": "alias"})
    assert changed.header.text("PatientName") == "Jörg^Ж"
    assert changed.header.text("SpecificCharacterSet") == "ISO_IR 192"


def test_a_miss_is_treated_as_the_map_says(csv_table: dict[str, Any], tmp_path: Path) -> None:
    header = _header(tmp_path, InstitutionName="H9")
    for on_miss in ("hold", "query"):
        with pytest.raises(Hold, match="crosswalk m: The crosswalk map m has no row for PatientID 'P1' and InstitutionName 'H9'"):
            _change(header, csv_table, on_miss=on_miss)
    assert _change(header, csv_table, on_miss="keep").header is header
    changed = _change(header, csv_table, on_miss="set", defaults={"PatientID": "UNKNOWN"})
    assert changed.header.text("PatientID") == "UNKNOWN"
    with pytest.raises(Hold, match=r"InstitutionName \(it has no value\)"):
        _change(_header(tmp_path), csv_table)


def test_rows_that_differ_and_values_that_do_not_fit_hold(csv_table: dict[str, Any], tmp_path: Path) -> None:
    header = _header(tmp_path)
    with pytest.raises(Hold, match="several rows that differ"):
        _change(header, csv_table, match={"PatientID": "mrn"}, replace={"PatientID": "pseudonym"})
    with pytest.raises(Hold, match="not valid"):
        _change(_header(tmp_path, InstitutionName="H1"), csv_table, replace={"PatientID": "pseudonym", "StudyDate": "alias"})
    header = _header(tmp_path, OtherPatientNames=["P1", "P2"], ImageType=["A", "B", "C"])
    with pytest.raises(Hold, match="which belong together"):
        _change(header, csv_table, match={"OtherPatientNames": "mrn", "ImageType": "site"})


def test_a_map_that_cannot_work_is_refused_at_save(csv_table: dict[str, Any]) -> None:
    good = {"name": "m", "source": "mrn", "match": {"PatientID": "mrn"}, "replace": {"PatientID": "pseudonym"}}
    for wrong, words in (
        ({"source": "other"}, "There is no crosswalk source called other; there are mrn"),
        ({"match": {"PatientNme": "mrn"}}, "did you mean PatientName"),
        ({"replace": {"(0002,0016)": "mrn"}}, "file meta"),
        ({"replace": {"PixelData": "mrn"}}, "pixel data"),
        ({"on_miss": "set"}, "needs a default for PatientID"),
        ({"defaults": {"PatientName": "x"}}, "is not replaced"),
        ({"match": {"OtherPatientIDsSequence[*].PatientID": "mrn"}}, "inside the same"),
        ({"match": {}}, "at least 1"),
    ):
        with pytest.raises(Invalid, match=words):
            load_configuration({"crosswalk_sources": [csv_table], "crosswalk_maps": [good | wrong]})
    rule = {"name": "a", "priority": 1, "morphs": [{"kind": "crosswalk", "map": "none"}]}
    rules = {"name": "r", "priority": 1, "rules": [rule]}
    with pytest.raises(Invalid, match="There is no crosswalk map called none; there are m"):
        load_configuration({"crosswalk_sources": [csv_table], "crosswalk_maps": [good], "rulesets": [rules]})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["P1", "P2", "p1", "P3", "TWICE", "NULL", "", "nobody", "O'Brien", "100%", "P1 "]), min_size=1))
def test_what_is_cached_says_what_the_table_says(postgres_patients: Table, clean_valkey: str, values: list[str]) -> None:
    one = {"name": "m", "source": "mrn", "match": {"PatientID": "mrn"}, "replace": {"PatientID": "pseudonym"}}
    document = {"crosswalk_sources": [postgres_patients.config], "crosswalk_maps": [one]}
    configuration = load_configuration(document)
    parts = (configuration.crosswalk_maps, configuration.crosswalk_sources)
    cached, plain = Crosswalks(*parts, Cache(clean_valkey)), Crosswalks(*parts)
    keys = [(v,) for v in values]
    expected = plain.ask("m", keys)
    assert cached.ask("m", keys) == expected
    assert cached.ask("m", keys) == expected


def test_what_is_too_long_for_a_key_is_held_by_itself(csv_table: dict[str, Any], tmp_path: Path) -> None:
    header = _header(tmp_path, PatientComments="x" * 70_000)
    with pytest.raises(Hold, match="PatientComments is longer than the 65536 characters") as e:
        _change(header, csv_table, match={"PatientComments": "mrn"})
    assert not e.value.waits_for
