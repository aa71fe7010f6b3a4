"""What others are configured by, as ours: each line is carried over, or told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.configuration import load_configuration
from engine.errors import Invalid
from engine.store import Store
from engine.store.import_mercure import condition_of, import_mercure
from engine.store.import_orthanc import import_orthanc

ORTHANC = """
{
  "DicomAet" : "HOSPITAL", "DicomPort" : 4242, "DicomCheckCalledAet" : true, "DicomAlwaysAllowStore": false, // ours
  "DicomModalities" : {
    /* "old" : [ "OLD", "192.168.0.1", 104 ], */
    "sample" : [ "STORESCP", "127.0.0.1", 2000 ],
    "my pacs" : { "AET" : "PACS", "Host" : "pacs.example.org", "Port" : 11112, "Manufacturer" : "GE", "AllowStore" : false,
                  "LocalAet" : "AXIOM", "Timeout" : 20, "UseDicomTls" : true },
    "note" : "http://no.comment.example"
  }
}
"""

MERCURE: dict[str, Any] = {
    "port": 11112,
    "targets": {
        "pacs": {"target_type": "dicom", "ip": "10.0.0.5", "port": "104", "aet_target": "PACS", "comment": "x"},
        "share": {"target_type": "folder", "folder": "/srv/images"},
        "ftp": {"target_type": "sftp", "host": "h", "user": "u", "password": "canary", "folder": "/"},
    },
    "modules": {"brain": {}},
    "rules": {
        "ct": {"rule": "@Modality@ == 'CT' and not ('SCOUT' in @SeriesDescription@)", "target": "pacs", "priority": "urgent"},
        "mr from 3": {"rule": "(tags.Modality == 'MR') & (@SenderAET@ == 'MR3')", "target": ["pacs", "share"], "disabled": True},
        "rest": {"rule": "True", "target": "share", "fallback": True},
        "odd": {"rule": "len(@Modality@) > 2", "target": "pacs"},
        "far": {"rule": "True", "target": "ftp"},
        "study": {"rule": "True", "target": "share", "action": "both", "action_trigger": "study", "processing_module": "brain"},
        "tell": {"rule": "True", "action": "notification"},
        "never": {"rule": "True", "action": "discard"},
    },
}  # fmt: skip


def test_orthancs_modalities_become_destinations_and_its_listener_a_source() -> None:
    found = import_orthanc(ORTHANC)
    assert found.document["destinations"] == [
        {"name": "sample", "kind": "dimse", "host": "127.0.0.1", "port": 2000, "ae_title": "STORESCP",
         "calling_ae_title": "HOSPITAL"},
        {"name": "my-pacs", "kind": "dimse", "host": "pacs.example.org", "port": 11112, "ae_title": "PACS",
         "calling_ae_title": "AXIOM", "dimse_timeout": 20.0, "description": "Orthanc: GE"},
    ]  # fmt: skip
    (source,) = found.document["sources"]
    assert (source["ae_title"], source["port"], source["require_called_ae"], source["calling_ae_titles"]) == (
        "HOSPITAL", 4242, True, ["STORESCP"],
    )  # fmt: skip
    assert found.notes == [
        "The modality my pacs is called my-pacs here.",
        "The modality my pacs: not carried over: UseDicomTls.",
        "The modality note has no AET, host and port: left out.",
        "The listener takes Orthanc's port 4242: end Orthanc first, or choose another.",
    ]
    load_configuration(found.document)


def test_the_block_alone_will_do() -> None:
    block = {"a": ["A", "h", 1], "A": ["B", "h", 2]}
    names = [d["name"] for d in import_orthanc(json.dumps(block)).document["destinations"]]
    assert names == ["a", "A-2"], "names that differ in case alone are no two names here"
    assert import_orthanc(json.dumps({"DicomModalities": block})).document.keys() == {"destinations"}


def test_mercures_targets_and_rules_become_ours_or_are_told() -> None:
    found = import_mercure(json.dumps(MERCURE))
    configuration = load_configuration(found.document)
    assert [(d.name, d.kind) for d in configuration.destinations] == [("pacs", "dimse"), ("share", "filesystem")]
    (ruleset,) = found.document["rulesets"]
    rules = {r["name"]: r for r in ruleset["rules"]}
    assert list(rules) == ["ct", "mr-from-3", "study", "never"]
    assert rules["ct"]["when"] == {
        "all": [
            {"tag": "Modality", "op": "eq", "value": "CT"},
            {"not": {"tag": "SeriesDescription", "op": "contains", "value": "SCOUT"}},
        ]
    }
    assert rules["mr-from-3"] == {
        "name": "mr-from-3", "priority": 20, "state": "off", "destinations": ["pacs", "share"],
        "when": {"tag": "Modality", "op": "eq", "value": "MR"}, "association": {"calling_ae": {"op": "eq", "value": "MR3"}},
    }  # fmt: skip
    assert (rules["never"]["destinations"], "when" in rules["never"]) == ([], False)
    told = "\n".join(found.notes)
    for words in (
        "The target ftp: not carried over: host, password, user.", "The target ftp is of the kind sftp",
        "ct: the priority urgent", "The rule rest is left out: it is the fallback",
        "odd is left out: it says `len(tags.Modality)",
        "far is left out: none of its targets", "study: images are sent as they are", "study: it waited for the whole study",
        "tell is left out: its action is notification", "modules are not carried over: brain",
    ):  # fmt: skip
        assert words in told
    assert "canary" not in told


def _rules(*texts: tuple[str, str], **more: Any) -> dict[str, dict[str, Any]]:
    """mercure's rules (expression, action) as ours, by name."""
    rules = {f"r{i}": {"rule": text, "action": action, "target": "t", **more} for i, (text, action) in enumerate(texts)}
    found = import_mercure(json.dumps({"targets": {"t": {"ip": "h", "port": "104", "aet_target": "T"}}, "rules": rules}))
    load_configuration(found.document)
    return {r["name"]: r for s in found.document.get("rulesets", []) for r in s["rules"]}


def test_what_mercure_discards_is_sent_by_no_rule_of_ours() -> None:
    ct, scout = ({"tag": "Modality", "op": "eq", "value": v} for v in ("CT", "SR"))
    rules = _rules(("@Modality@ == 'CT'", "route"), ("@Modality@ == 'SR'", "discard"), ("True", "route"))
    assert rules["r0"]["when"] == {"all": [ct, {"not": scout}]}
    assert rules["r1"]["when"] == scout
    assert rules["r2"]["when"] == {"not": scout}
    rules = _rules(("True", "route"), ("@SenderAET@ == 'TEST'", "discard"))
    assert rules["r0"]["association"] == {"not": {"calling_ae": {"op": "eq", "value": "TEST"}}}
    for text in ("True", "len(@Modality@) > 2", "@SenderAET@ == 'TEST' and @Modality@ == 'CT'"):
        assert _rules(("True", "route"), (text, "discard"))["r0"]["state"] == "off", text
    assert _rules(("True", "route"), ("False", "discard"), disabled="False")["r0"]["state"] == "off"
    assert "when" not in _rules(("True", "route"), ("@Modality@ == 'SR'", "discard"), disabled="True")["r0"]


def test_switches_of_mercure_are_words_in_its_own_files() -> None:
    assert _rules(("True", "route"), disabled="False", fallback="False")["r0"]["state"] == "live"
    assert _rules(("True", "route"), disabled="True", fallback="False")["r0"]["state"] == "off"
    assert _rules(("True", "route"), disabled="False", fallback="True") == {}


def test_targets_without_a_type_are_dicom_and_orthancs_ports_may_be_text() -> None:
    targets = {"t": {"ip": "10.0.0.1", "port": "11112", "aet_target": "foo"}, "odd": {"ip": "h", "port": ""}}
    found = import_mercure(json.dumps({"targets": targets, "rules": {}}))
    assert found.document["destinations"] == [
        {"name": "t", "kind": "dimse", "host": "10.0.0.1", "port": 11112, "ae_title": "foo"}
    ]
    assert "The target odd has no port that is a number: left out." in found.notes
    block = {"a": ["A", "h", "104"], "b": {"AET": "B", "Host": "h", "Port": "${PORT}"}}
    found = import_orthanc(json.dumps(block))
    assert [d["port"] for d in found.document["destinations"]] == [104]
    assert found.notes == ["The modality b has a port that is no number (${PORT}): left out."]
    load_configuration(found.document)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("True", None),
        ("'CINE' in %SeriesDescription%", {"tag": "SeriesDescription", "op": "contains", "value": "CINE"}),
        ("tags.SeriesDescription.lower() == 'cine'",
         {"tag": "SeriesDescription", "op": "eq", "value": "cine", "ignore_case": True}),
        ("float(tags.SliceThickness) < 2.0", {"tag": "SliceThickness", "op": "lt", "value": 2.0}),
        ("'CT' == @Modality@", {"tag": "Modality", "op": "eq", "value": "CT"}),
        ("@Modality@ != 'CT'", {"not": {"tag": "Modality", "op": "eq", "value": "CT"}}),
        ("@Modality@ in ['CT', 'MR']", {"tag": "Modality", "op": "in", "value": ["CT", "MR"]}),
        ("'X' not in @Modality@", {"not": {"tag": "Modality", "op": "contains", "value": "X"}}),
        ("@StationName@.startswith('A')", {"tag": "StationName", "op": "startswith", "value": "A"}),
        ("tags.get('StationName', '').endswith('A')", {"tag": "StationName", "op": "endswith", "value": "A"}),
        ("'t1' in @ProtocolName@.lower()", {"tag": "ProtocolName", "op": "contains", "value": "t1", "ignore_case": True}),
        ("3 < float(@SliceThickness@)", {"tag": "SliceThickness", "op": "gt", "value": 3}),
        ("(@A@ == '1') | (@B@ == '2')", {"any": [{"tag": t, "op": "eq", "value": v} for t, v in ("A1", "B2")]}),
    ],
)  # fmt: skip
def test_expressions_of_mercure(text: str, when: Any) -> None:
    assert condition_of(text) == (when, None)


@pytest.mark.parametrize(
    "text",
    [
        "", "False", "@A@", "@A@ ==", "__import__('os').system('x')", "@A@ == @B@", "@A@ > 'x'", "@A@ == 3", "float(@A@) == '3'",
        "@A@.lower() == 'X'", "@Modality@ == 'CT' or @SenderAET@ == 'X'", "1 < float(@A@) < 3", "tags == 'x'", "(" * 500,
        "@A@.startswith('x', 1)",
    ],
)  # fmt: skip
def test_what_cannot_be_said_here_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^it"):
        condition_of(text)


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", '{"DicomModalities": 3}', "// only a comment"])
def test_what_is_no_such_file_is_told(text: str) -> None:
    for read in (import_orthanc, import_mercure):
        with pytest.raises(Invalid):
            read(text)


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_what_is_imported_stands_beside_what_is_there(store: Store) -> None:
    store.save({"destinations": [{"name": "pacs", "kind": "nothing"}, {"name": "mine", "kind": "nothing"}]}, author="t")
    found = import_mercure(json.dumps(MERCURE))
    store.apply(found.merged(store.document()[1]), author="t")
    kinds = {d["name"]: d["kind"] for d in store.document()[1]["destinations"]}
    assert kinds == {"mine": "nothing", "pacs": "dimse", "share": "filesystem"}
