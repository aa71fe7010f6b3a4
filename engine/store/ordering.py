"""The order of rules: moved by naming a neighbour; priorities are numbered anew, with room between them."""

from __future__ import annotations

from typing import Any

from engine.errors import Invalid, Missing, Problem

__all__ = ["STEP", "move"]

STEP = 10


def move(rules: list[dict[str, Any]], name: str, before: str | None, after: str | None) -> None:
    """Change the order of `rules` in place. Raises Missing for a rule that is not there, Invalid for two neighbours or itself.

    Without a neighbour it goes behind all others. Priorities become 10, 20, 30, ...
    """
    if before is not None and after is not None:
        raise Invalid([Problem(("after",), "Say either `before` or `after`.")])
    neighbour = before if before is not None else after
    if neighbour == name:
        raise Invalid([Problem(("before" if before is not None else "after",), "A rule cannot stand beside itself.")])
    ordered = sorted(rules, key=lambda rule: rule["priority"])
    moved = _find(ordered, name)
    others = [rule for rule in ordered if rule is not moved]
    at = len(others)
    if neighbour is not None:
        at = others.index(_find(others, neighbour)) + (after is not None)
    others.insert(at, moved)
    for number, rule in enumerate(others, 1):
        rule["priority"] = number * STEP
    rules[:] = others


def _find(rules: list[dict[str, Any]], name: str) -> dict[str, Any]:
    found = next((rule for rule in rules if rule["name"] == name), None)
    if found is None:
        raise Missing(f"There is no rule called {name} in this ruleset.")
    return found
