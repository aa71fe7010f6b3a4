"""What of the configuration uses what: asked before something goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["used_by"]


def used_by(document: Mapping[str, Any], family: str, name: str) -> list[str]:
    """The places that name it: `["rulesets/main/rules/ct"]`. Rules that name a *kind* of source need no one source."""
    if family == "crosswalk_sources":
        return [f"crosswalk_maps/{m['name']}" for m in document.get("crosswalk_maps", []) if m.get("source") == name]
    own = [f"sources/{s['name']}" for s in document.get("sources", []) if family == "schedules" and s.get("schedule") == name]
    own += [f"alerts/{a['name']}" for a in document.get("alerts", []) if name in _named_by_alert(a, family)]
    return own + [
        f"rulesets/{ruleset['name']}/rules/{rule['name']}"
        for ruleset in sorted(document.get("rulesets", []), key=lambda r: r["priority"])
        for rule in ruleset.get("rules", [])
        if name in _named_by(rule, family)
    ]


def _named_by_alert(alert: Mapping[str, Any], family: str) -> list[str]:
    return [alert.get("schedule", "")] if family == "schedules" else list(alert.get(family, []))


def _named_by(rule: Mapping[str, Any], family: str) -> list[str]:
    match family:
        case "destinations" | "sources":
            return list(rule.get(family, []))
        case "schedules":
            return [rule["schedule"]] if rule.get("schedule") is not None else []
        case "crosswalk_maps":
            return [m.get("map", "") for m in rule.get("morphs", []) if m.get("kind") == "crosswalk"]
        case _:
            return []
