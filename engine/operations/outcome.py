"""How an action on many things answers: what was done, and what was not, with each one's reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from engine.errors import AxiomError

__all__ = ["for_each"]


def for_each(ids: Iterable[str], action: Callable[[str], Any]) -> dict[str, Any]:
    """Do `action` to each id; one that cannot be done does not stop the others. {"done": [...], "failed": [{id, words}]}."""
    done: list[str] = []
    failed: list[dict[str, str]] = []
    for one in ids:
        try:
            action(one)
        except AxiomError as e:
            failed.append({"id": one, "words": str(e)})
        else:
            done.append(one)
    return {"done": done, "failed": failed}
