"""Moving rules, naming and planning revisions, and kept secrets, of the fake API: enough to be looked at."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from engine.store.ordering import move
from tests.workbench.fake_site import ago

__all__ = ["add_routes"]

STORED = "stored:00112233445566778899aabbccddeef"


def _plan(number: int, revision: int, hours: float, outcome: str = "") -> dict[str, Any]:
    at = ago(hours=hours)
    return {
        "id": number, "revision": revision, "at": at, "who": "ada", "reason": "the new scanner goes live",
        "ended_at": at if outcome else None, "outcome": outcome,
    }  # fmt: skip


def add_routes(app: FastAPI, state: Any) -> None:
    @app.post("/api/v1/rulesets/{name}/rules/{rule}/move")
    def move_rule(name: str, rule: str, body: dict[str, Any]) -> Any:
        ruleset = next(r for r in state.document["rulesets"] if r["name"] == name)
        move(ruleset["rules"], rule, body.get("before"), body.get("after"))
        state.revision += 1
        return ruleset

    @app.get("/api/v1/activations")
    def activations(limit: int = 100) -> list[dict[str, Any]]:
        return [] if state.is_empty else [_plan(2, 6, -14), _plan(1, 5, 40, "Live as revision 6.")]

    @app.get("/api/v1/secrets")
    def secrets() -> list[dict[str, Any]]:
        if state.is_empty:
            return []
        one = {"created_at": ago(hours=90), "created_by": "ada"}
        return [
            one | {"reference": f"{STORED}0", "used": True, "places": ["destinations/pacs"], "last_revision": 7},
            one | {"reference": f"{STORED}1", "used": False, "places": [], "last_revision": 4},
        ]
