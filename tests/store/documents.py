"""Configurations that tests of the store and the API begin with."""

from __future__ import annotations

from typing import Any

__all__ = ["SMALL", "SMALL_YAML", "many_rules", "rule", "with_rule"]

SMALL: dict[str, Any] = {
    "sources": [{"name": "modalities", "kind": "dimse_listener", "ae_title": "AXIOM", "port": 11112}],
    "destinations": [{"name": "archive", "kind": "nothing"}, {"name": "pacs", "kind": "nothing", "description": "old"}],
    "schedules": [
        {
            "name": "office",
            "time_zone": "Europe/Berlin",
            "ranges": [{"days": ["mon", "tue"], "start": "07:00", "end": "18:00"}],
        }
    ],
    "rulesets": [
        {
            "name": "main",
            "priority": 10,
            "rules": [
                {
                    "name": "ct",
                    "priority": 10,
                    "state": "off",
                    "sources": ["modalities"],
                    "when": {"tag": "Modality", "op": "eq", "value": "CT"},
                    "schedule": "office",
                    "morphs": [{"kind": "prepend", "tag": "PatientID", "value": "H1-"}],
                    "destinations": ["pacs"],
                }
            ],
        }
    ],
}

SMALL_YAML = """\
sources:
  - {name: modalities, kind: dimse_listener, ae_title: AXIOM, port: 11112}
destinations:
  - {name: pacs, kind: nothing, description: old}
  - {name: archive, kind: nothing}
schedules:
  - name: office
    time_zone: Europe/Berlin
    ranges: [{days: [mon, tue], start: 07:00, end: 18:00}]   # unquoted, as people write it
rulesets:
  - name: main
    priority: 10
    rules:
      - name: ct
        priority: 10
        state: off
        sources: [modalities]
        when: {tag: Modality, op: eq, value: CT}
        schedule: office
        morphs: [{kind: prepend, tag: PatientID, value: H1-}]
        destinations: [pacs]
"""


def rule(**fields: Any) -> dict[str, Any]:
    return {"name": "ct", "priority": 10, "destinations": ["pacs"], **fields}


def with_rule(*rules: dict[str, Any]) -> dict[str, Any]:
    """A document with these rules."""
    return {
        "destinations": [{"name": "pacs", "kind": "nothing"}],
        "rulesets": [{"name": "main", "priority": 1, "rules": list(rules)}],
    }


def many_rules(count: int) -> dict[str, Any]:
    when = {"all": [{"tag": "Modality", "op": "in", "value": ["CT", "MR"]}, {"tag": "StationName", "op": "exists"}]}
    return with_rule(*(rule(name=f"rule-{i}", priority=i, when=when) for i in range(count)))
