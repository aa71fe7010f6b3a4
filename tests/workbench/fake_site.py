"""What a small hospital site looks like through the API: sources, rules, images on their way, some of them in trouble."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

__all__ = [
    "TAGS", "crosswalk_maps", "decisions", "deliveries", "difference", "document", "findings", "flow", "gatherings",
    "held", "history", "instances", "revisions", "status", "story", "unmatched", "what_if",
]  # fmt: skip

CT = "1.2.826.0.1.3680043.8.498.1001"
NOT_SIGNED = "0xA700 Refused: out of resources: 'store is full'"

TAGS = [
    {"keyword": "PatientID", "tag": "00100020", "vr": "LO", "name": "Patient ID"},
    {"keyword": "PatientName", "tag": "00100010", "vr": "PN", "name": "Patient's Name"},
    {"keyword": "Modality", "tag": "00080060", "vr": "CS", "name": "Modality"},
    {"keyword": "StudyDescription", "tag": "00081030", "vr": "LO", "name": "Study Description"},
    {"keyword": "InstitutionName", "tag": "00080080", "vr": "LO", "name": "Institution Name"},
    {"keyword": "AccessionNumber", "tag": "00080050", "vr": "SH", "name": "Accession Number"},
    {"keyword": "SliceThickness", "tag": "00180050", "vr": "DS", "name": "Slice Thickness"},
]


def ago(**how_long: float) -> str:
    return (datetime.now(UTC) - timedelta(**how_long)).isoformat()


def document() -> dict[str, Any]:
    when = {
        "all": [
            {"tag": "Modality", "op": "eq", "value": "CT"},
            {"not": {"tag": "PatientID", "op": "startswith", "value": "TEST"}},
        ]
    }
    association = {"any": [{"calling_ae": {"op": "eq", "value": "CT01"}}]}
    rules = [
        {"name": "ct-to-pacs", "priority": 10, "state": "live", "sources": ["modalities"], "when": when,
         "association": association, "morphs": [
             {"kind": "set", "tag": "InstitutionName", "value": "Axiom"},
             {"kind": "prepend", "tag": "PatientID", "value": "H1-"}],
         "destinations": ["pacs", "archive"], "schedule": "office"},
        {"name": "mr-to-pacs", "priority": 20, "state": "live",
         "when": {"tag": "Modality", "op": "eq", "value": "MR"}, "destinations": ["pacs"]},
        {"name": "all-to-archive", "priority": 30, "state": "live", "destinations": ["archive"]},
        {"name": "research-ct", "priority": 40, "state": "shadow",
         "when": {"tag": "StudyDescription", "op": "contains", "value": "THORAX"}, "destinations": ["research"]},
        {"name": "old-ultrasound", "priority": 50, "state": "off",
         "when": {"tag": "Modality", "op": "in", "value": ["US", "IVUS"]}, "destinations": ["archive"]},
    ]  # fmt: skip
    return {
        "sources": [
            {"name": "modalities", "kind": "dimse_listener", "ae_title": "AXIOM", "port": 11112},
            {"name": "ultrasound", "kind": "dimse_listener", "ae_title": "AXIOM_US", "port": 11119},
        ],
        "destinations": [
            {"name": "archive", "kind": "filesystem", "path": "./archive"},
            {"name": "nowhere", "kind": "nothing"},
            {"name": "pacs", "kind": "dimse", "host": "127.0.0.1", "port": 11113, "ae_title": "PACS"},
            {"name": "research", "kind": "filesystem", "path": "./research"},
        ],
        "schedules": [{"name": "office", "time_zone": "Europe/Berlin", "ranges": [
            {"days": ["mon", "tue", "wed", "thu", "fri"], "start": "07:00", "end": "18:00"}]}],
        "crosswalk_sources": [
            {"name": "mrn-db", "kind": "postgresql", "host": "127.0.0.1", "database": "research", "user": "reader",
             "password": "env:MRN_PASSWORD", "table": "patients"}],
        "crosswalk_maps": [
            {"name": "pseudonyms", "source": "mrn-db", "match": {"PatientID": "mrn"}, "replace": {"PatientID": "pseudonym"},
             "sync_seconds": 600}],
        "channels": [
            {"name": "on-call", "kind": "webhook", "url": "https://hooks.hospital.example/T0/s3cret-path"},
            {"name": "pacs-team", "kind": "email", "host": "mail.hospital.example", "sender": "axiom@hospital.example",
             "to": ["pacs-team@hospital.example"]}],
        "alerts": [
            {"name": "pacs-away", "kind": "destination_failing", "destinations": ["pacs"], "minutes": 10,
             "channels": ["on-call", "pacs-team"]},
            {"name": "ultrasound-silent", "kind": "nothing_received", "sources": ["ultrasound"], "hours": 2,
             "schedule": "office", "channels": ["pacs-team"]},
            {"name": "tell-research", "kind": "event", "events": ["study_delivered"], "destinations": ["research"],
             "channels": ["on-call"]}],
        "rulesets": [
            {"name": "main", "priority": 10, "mode": "ALL_MATCHES", "rules": rules},
            {"name": "night", "priority": 20, "mode": "FIRST_MATCH", "rules": []},
        ],
    }


def crosswalk_maps() -> list[dict[str, Any]]:
    return [{"name": "pseudonyms", "source": "mrn-db", "sync_seconds": 600, "state": "syncing", "rows": 1000, "total": 4000,
             "error": "", "batches_waiting": 2}]


def status(state: Any) -> dict[str, Any]:
    n = state.received()
    dead = [d for d in state.deliveries if d["state"] == "dead"]
    waiting = [d for d in state.deliveries if d["state"] == "waiting"]

    def place(name: str, kind: str, **more: Any) -> dict[str, Any]:
        idle = {
            "waiting": 0,
            "sending": 0,
            "dead": 0,
            "oldest_seconds": None,
            "next_attempt_at": None,
            "last_error": "",
        }
        return {"name": name, "kind": kind, "enabled": True} | idle | more

    return {
        "node": "node-1", "version": "0.1.0", "started_at": ago(hours=30), "revision": state.revision,
        "listeners": [] if not state.document["sources"] else [
            {"name": "modalities", "kind": "dimse_listener", "state": "listening", "address": "127.0.0.1:11112",
             "ae_title": "AXIOM", "associations": 2, "instances": n, "since": ago(hours=30), "error": ""},
            {"name": "ultrasound", "kind": "dimse_listener", "state": "failed", "address": "127.0.0.1:11119",
             "ae_title": "AXIOM_US", "associations": 0, "instances": 0, "since": ago(minutes=4),
             "error": "Port 11119 is taken by another program."},
        ],
        "pollers": state.pollers,
        "queues": [{"name": "route", "depth": 0}, {"name": "deliver", "depth": 2}],
        "workers": [
            {"name": "route-1", "queue": "axiom.node-1.route", "state": "idle", "pid": 411},
            {"name": "deliver-1", "queue": "axiom.node-1.deliver", "state": "busy", "pid": 412},
            {"name": "deliver-2", "queue": "axiom.node-1.deliver", "state": "idle", "pid": 413},
        ],
        "engine": {"running": True, "workers": []}, "redis": "",
        "spool": {"receiving": 3, "ready": 1, "routed": 9, "kept": 31, "held": len(state.held),
                  "unmatched": len(state.unmatched), "free_bytes": 212_400_000_000, "watermark_bytes": 1_073_741_824,
                  "accepting": True},
        "destinations": [
            place("archive", "filesystem", sending=1), place("nowhere", "nothing"),
            place("pacs", "dimse", waiting=len(waiting), dead=len(dead), oldest_seconds=130, next_attempt_at=ago(seconds=-42),
                  last_error=NOT_SIGNED),
            place("research", "filesystem", enabled=False),
        ],
        "alerts": alerts(state),
        "held": sum(h["count"] for h in state.held), "dead": len(dead),
    }  # fmt: skip


def alerts(state: Any) -> dict[str, Any]:
    if state.is_empty:
        return {"firing": [], "by_alert": {}, "messages": {}, "channels": {}}
    return {
        "firing": [
            {"alert": "pacs-away", "kind": "destination_failing", "subject": "destinations/pacs", "page": "deliveries",
             "words": "pacs has taken nothing since 2026-11-24 09:12 UTC (it answers 0xA700): deliveries that wait: 2.",
             "todo": "Look at its last words among the deliveries. What waits is kept and tried again by itself.",
             "since": ago(minutes=14), "channels": ["on-call", "pacs-team"]}],
        "by_alert": {"pacs-away": 1, "ultrasound-silent": 0, "tell-research": 0},
        "messages": {"pacs-team": 1},
        "channels": {"on-call": "", "pacs-team": "The mail server mail.hospital.example answered 451."},
    }  # fmt: skip


def flow(state: Any) -> dict[str, Any]:
    if state.is_empty:
        none = dict.fromkeys(("received", "delivered", "held", "unmatched", "dead", "waiting"), 0)
        return {"since": ago(minutes=60), "nodes": [], "edges": [], "totals": none, "per_minute": []}
    n = state.received()
    ct, mr = int(n * 0.55), int(n * 0.3)
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    minutes = [
        {"at": (now - timedelta(minutes=59 - i)).isoformat(), "received": int(40 + 30 * math.sin(i / 7) + (i % 5) * 3),
         "delivered": int(52 + 38 * math.sin((i - 1) / 7) + (i % 4) * 3)}
        for i in range(60)
    ]  # fmt: skip

    def node(type_: str, name: str, count: int, **more: Any) -> dict[str, Any]:
        return {"id": f"{type_}:{name}", "type": type_, "name": name, "count": count} | more

    def edge(a: str, b: str, count: int) -> dict[str, Any]:
        return {"from": a, "to": b, "count": count}

    return {
        "since": ago(minutes=60),
        "nodes": [
            node("source", "modalities", n), node("source", "ultrasound", 0),
            node("rule", "main/ct-to-pacs", ct, state="live"), node("rule", "main/mr-to-pacs", mr, state="live"),
            node("rule", "main/all-to-archive", n, state="live"),
            node("rule", "main/research-ct", int(ct * 0.4), state="shadow"),
            node("destination", "pacs", ct + mr), node("destination", "archive", n + ct), node("destination", "research", 0),
        ],
        "edges": [
            edge("source:modalities", "rule:main/ct-to-pacs", ct), edge("source:modalities", "rule:main/mr-to-pacs", mr),
            edge("source:modalities", "rule:main/all-to-archive", n),
            edge("source:modalities", "rule:main/research-ct", int(ct * 0.4)),
            edge("rule:main/ct-to-pacs", "destination:pacs", ct), edge("rule:main/ct-to-pacs", "destination:archive", ct),
            edge("rule:main/mr-to-pacs", "destination:pacs", mr),
            edge("rule:main/all-to-archive", "destination:archive", n),
        ],
        "totals": {"received": n, "delivered": n * 2 - 40, "held": sum(h["count"] for h in state.held),
                   "unmatched": len(state.unmatched), "dead": sum(d["state"] == "dead" for d in state.deliveries),
                   "waiting": sum(d["state"] == "waiting" for d in state.deliveries)},
        "per_minute": minutes,
    }  # fmt: skip


def held() -> list[dict[str, Any]]:
    reason = 'Rule main/ct-to-pacs: the morph set "StudyDate" to "yesterday" is not a date (VR DA).'
    one = {"sop_instance_uid": f"{CT}.1", "patient_id": "P-1001", "patient_name": "Doe^Jane", "modality": "CT"}
    broken = {"sop_instance_uid": "", "patient_id": "", "patient_name": "", "modality": ""}
    return [
        {"id": "h1", "at": ago(minutes=12), "source": "modalities", "calling_ae": "CT01", "reason": reason, "count": 3,
         "instances": [one, one | {"sop_instance_uid": f"{CT}.2"}, one | {"sop_instance_uid": f"{CT}.3"}]},
        {"id": "h2", "at": ago(hours=5), "source": "modalities", "calling_ae": "XRAY7",
         "reason": "The data set ends in the middle of (7FE0,0010).", "count": 1, "instances": [broken]},
    ]  # fmt: skip


def unmatched() -> list[dict[str, Any]]:
    one = {"sop_instance_uid": "1.2.3.9.1", "patient_id": "P-2040", "patient_name": "Roe^Sam", "modality": "OT"}
    return [{"id": "u1", "at": ago(minutes=50), "source": "modalities", "calling_ae": "SCAN3", "count": 1,
             "instances": [one], "reason": ""}]  # fmt: skip


def gatherings() -> list[dict[str, Any]]:
    return [
        {"id": "a" * 32, "branch": "main/research", "destination": "research", "level": "study", "uid": "1.2.826.0.1.77",
         "instances": 212, "expected": 640, "batches": 3, "opened_at": ago(seconds=95), "ends_at": ago(seconds=-41),
         "late": False},
        {"id": "b" * 32, "branch": "main/research", "destination": "research", "level": "study", "uid": "1.2.826.0.1.78",
         "instances": 4, "expected": 0, "batches": 1, "opened_at": ago(seconds=12), "ends_at": ago(seconds=-48),
         "late": True},
    ]  # fmt: skip


def deliveries() -> list[dict[str, Any]]:
    def one(id_: str, state: str, attempt: int, words: str, **more: Any) -> dict[str, Any]:
        base = {"id": id_, "batch": "b-20261124-0007", "branch": "main/ct-to-pacs", "destination": "pacs", "state": state,
                "attempt": attempt, "next_attempt_at": ago(seconds=-42) if state == "waiting" else None, "instances": 120,
                "confirmed": 80, "refused": 0, "remaining": 40, "last_code": "0xA700", "last_words": words,
                "created_at": ago(minutes=3)}  # fmt: skip
        return base | more

    return [
        one("d1", "waiting", 3, NOT_SIGNED),
        one("d2", "waiting", 1, "The peer at 127.0.0.1:11113 does not answer.", last_code="", confirmed=0, remaining=120),
        one("d3", "sending", 1, "", destination="archive", last_code="", branch="main/all-to-archive"),
        one("d4", "dead", 2, "Refused: Out of resources", last_code="0xA700", refused=2, remaining=2, confirmed=118,
            created_at=ago(hours=2), refusals=[
                {"sop_instance_uid": f"{CT}.4", "code": "0xC000", "words": "Cannot understand: 'no such SOP class'"}]),
        one("d5", "dead", 20, NOT_SIGNED, created_at=ago(hours=9), branch="main/mr-to-pacs", remaining=120, confirmed=0),
    ]  # fmt: skip


def instances() -> list[dict[str, Any]]:
    people = (
        ("P-1001", "Doe^Jane", "CT", "THORAX"),
        ("P-1001", "Doe^Jane", "CT", "THORAX"),
        ("P-1007", "Roe^Max", "MR", "KNEE"),
    )
    return [
        {"sop_instance_uid": f"{CT}.{i + 1}", "received_at": ago(minutes=12 + i), "patient_id": pid, "patient_name": name,
         "accession_number": f"471{i}", "modality": modality, "study_description": words, "source": "modalities",
         "calling_ae": "CT01", "outcome": "held" if i == 0 else "routed", "study_date": "20261124"}
        for i, (pid, name, modality, words) in enumerate(people)
    ]  # fmt: skip


def decisions() -> list[dict[str, Any]]:
    return [
        {"ruleset": "main", "rule": "ct-to-pacs", "state": "live", "matched": True,
         "reasons": ["Modality eq CT: is CT", "not PatientID startswith TEST: is P-1001"],
         "changes": changes(), "destinations": ["pacs", "archive"]},
        {"ruleset": "main", "rule": "mr-to-pacs", "state": "live", "matched": False, "reasons": ["Modality eq MR: is CT"],
         "changes": [], "destinations": []},
        {"ruleset": "main", "rule": "research-ct", "state": "shadow", "matched": True,
         "reasons": ["StudyDescription contains THORAX: is CT THORAX"], "changes": [], "destinations": ["research"]},
    ]  # fmt: skip


def changes() -> list[dict[str, Any]]:
    return [
        {"path": "InstitutionName", "tag": "00080080", "vr": "LO", "before": None, "after": "Axiom", "morph": "set"},
        {"path": "PatientID", "tag": "00100020", "vr": "LO", "before": "P-1001", "after": "H1-P-1001", "morph": "prepend"},
        {"path": "PatientComments", "tag": "00104000", "vr": "LT", "before": "<b>call back</b>", "after": None,
         "morph": "delete"},
    ]  # fmt: skip


def story(uid: str) -> dict[str, Any]:
    instance = next(i for i in instances() if i["sop_instance_uid"] == uid)

    def sent(destination: str, attempt: int, outcome: str, seconds: int, **more: Any) -> dict[str, Any]:
        return {"destination": destination, "destination_kind": "dimse", "attempt": attempt, "outcome": outcome, "code": "",
                "words": "", "location": "", "seconds": 0.12, "bytes": 526_336, "at": ago(seconds=700 - seconds),
                "branch": "main/ct-to-pacs", "delivery": f"d-{destination}"} | more  # fmt: skip

    reception = instance | {
        "batch": "b-20261124-0007", "index": 4, "source_kind": "dimse_listener", "called_ae": "AXIOM", "source_ip": "10.1.4.20",
        "bytes": 526_336, "revision": 7, "held_reason": "", "outcome": "routed", "routed_at": instance["received_at"],
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2", "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "study_instance_uid": "1.2.826.0.1.3680043.8.498.1", "series_description": "AX 1.0 B30f", "institution_name": "",
        "header": {
            "00080060": {"vr": "CS", "Value": ["CT"]},
            "00081110": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2.3"]}}]},
            "00091001": {"vr": "UN", "length": 12}},
        "decisions": [d | {"at": instance["received_at"]} for d in decisions()],
        "changes": [c | {"ruleset": "main", "rule": "ct-to-pacs", "state": "live"} for c in changes()],
        "deliveries": [
            sent("archive", 1, "confirmed", 0, words="written", location="P-1001/1.2.826/1001.1.dcm"),
            sent("pacs", 1, "retry", 5, code="0xA700", words=NOT_SIGNED), sent("pacs", 2, "confirmed", 65, code="0x0000"),
        ],
    }  # fmt: skip
    return {"sop_instance_uid": uid, "receptions": [reception]}


def revisions(newest: int) -> list[dict[str, Any]]:
    words = ("CT goes live", "Research in shadow", "New port for ultrasound", "First configuration")
    return [
        {
            "id": newest - i,
            "created_at": ago(hours=3 * i + 1),
            "author": "ada",
            "reason": words[i % 4],
            "label": "",
            "live": i == 0,
        }
        for i in range(min(newest, 6))
    ]


def difference() -> dict[str, Any]:
    change = {"path": "rules/ct-to-pacs/state", "action": "changed", "before": "shadow", "after": "live"}
    changed = {
        "action": "changed",
        "family": "rulesets",
        "name": "main",
        "before": {},
        "after": {},
        "changes": [change],
    }
    new = {"name": "nowhere", "kind": "nothing"}
    added = {
        "action": "added",
        "family": "destinations",
        "name": "nowhere",
        "before": None,
        "after": new,
        "changes": [],
    }
    return {"equal": False, "differences": [changed, added], "words": ["~ rulesets/main", "+ destinations/nowhere"]}


def history(n: int) -> pa.Table:
    now = datetime.now(UTC)
    return pa.table(
        {
            "at": [now - timedelta(minutes=3 * i) for i in range(n)],
            "received_at": [now - timedelta(minutes=3 * i) for i in range(n)],
            "modality": [("CT", "MR", "CR", "US")[i * i % 7 % 4] for i in range(n)],
            "source": ["modalities" if i % 5 else "ultrasound" for i in range(n)],
            "calling_ae": [("CT01", "MR02", "XRAY7", "US04")[i * i % 7 % 4] for i in range(n)],
            "bytes": [526_336 + 1000 * (i % 17) for i in range(n)],
            "outcome": ["held" if i % 50 == 3 else "routed" for i in range(n)],
            "patient_id": [f"P-{1000 + i % 40}" for i in range(n)],
            "sop_instance_uid": [f"{CT}.{i}" for i in range(n)],
            "study_instance_uid": [f"{CT}.9.{i // 10}" for i in range(n)],
        }
    )


def what_if() -> dict[str, Any]:
    def count(draft: int, live: int, gained: int = 0, lost: int = 0) -> dict[str, int]:
        return {"draft": draft, "live": live, "gained": gained, "lost": lost}

    sample = {"id": "b1/0", "sop_instance_uid": f"{CT}.2", "patient_id": "P-1001", "accession_number": "A4711",
              "study_date": "20261101",
              "modality": "MR", "source": "modalities", "calling_ae": "MR01", "received_at": ago(hours=5),
              "rules": {"draft": ["main/mr-to-pacs"], "live": []}}  # fmt: skip
    return {
        "revision": 7, "days": 30, "instances": 18_402, "total": count(12_930, 12_110, 1_020, 200), "unmatched_then": 410,
        "rules": {"main/ct-to-pacs": count(8_110, 8_310, 0, 200), "main/mr-to-pacs": count(4_820, 3_800, 1_020)},
        "modalities": {"CT": count(8_110, 8_310, 0, 200), "MR": count(4_820, 3_800, 1_020), "US": count(0, 0)},
        "sources": {"modalities": count(12_930, 12_110, 1_020, 200)},
        "destinations": {"archive": count(8_110, 8_310, 0, 200), "pacs": count(12_930, 12_110, 1_020, 200)},
        "gained": [sample], "lost": [], "notes": [],
    }  # fmt: skip


def findings(days: int) -> list[dict[str, Any]]:
    return [
        {"ruleset": "main", "rule": "research-ct", "kind": "never_matched", "others": [],
         "words": f"It was asked of no instance in the last {days} days."},
        {"ruleset": "main", "rule": "mr-to-pacs", "kind": "covered", "others": ["ct-to-pacs"],
         "words": "It is never reached: all that it matches is matched by ct-to-pacs, which comes first and ends the ruleset."},
    ]  # fmt: skip
