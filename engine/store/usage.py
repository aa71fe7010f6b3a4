"""What of the configuration uses what: asked before something goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["used_by"]


def used_by(document: Mapping[str, Any], family: str, name: str) -> list[str]:
    """The places that name it: `["rulesets/main/rules/ct"]`. Rules that name a *kind* of source need no one source."""
    return [
        f"rulesets/{ruleset['name']}/rules/{rule['name']}"
        for ruleset in sorted(document.get("rulesets", []), key=lambda r: r["priority"])
        for rule in ruleset.get("rules", [])
        if name in _named_by(rule, family)
    ]


def _named_by(rule: Mapping[str, Any], family: str) -> list[str]:
    match family:
        case "destinations" | "sources":
            return list(rule.get(family, []))
        case "schedules":
            return [rule["schedule"]] if rule.get("schedule") is not None else []
        case _:
            return []
