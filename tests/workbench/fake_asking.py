"""The fake API's routes that ask before something is done: what if, analysis, when a schedule is on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI

from engine.rules.model import Schedule
from engine.rules.outlook import outlook
from tests.workbench import fake_site

__all__ = ["add_asking_routes"]


def add_asking_routes(app: FastAPI, state: Any, check: Callable[[str, dict[str, Any], list[Any]], None]) -> None:
    """`check` raises what the API answers for an item that does not hold."""

    @app.post("/api/v1/rules/whatif")
    def what_if(body: dict[str, Any]) -> dict[str, Any]:
        for ruleset in body["configuration"].get("rulesets", []):
            check("rulesets", ruleset, ["rulesets", ruleset.get("name", "")])
        state.did.append(("rules/whatif", body["days"], body["configuration"]))
        return fake_site.what_if()

    @app.get("/api/v1/rules/analysis")
    def analysis(days: int) -> dict[str, Any]:
        return {"findings": [] if state.is_empty else fake_site.findings(days)}

    @app.post("/api/v1/schedules/next-on")
    def next_on(schedule: Schedule, days: int = 7) -> dict[str, Any]:
        return outlook(schedule, datetime.now(UTC), days)
