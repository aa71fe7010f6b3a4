"""Crosswalk sources: the tables that say what values are replaced by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.family import Family, show


def line(item: Mapping[str, Any], _: Mapping[str, Any]) -> tuple[str, str]:
    words = (item.get("host"), item.get("database"), item.get("table"), item.get("path"), item.get("description"))
    return " · ".join(str(w) for w in words if w), ""


show(
    Family(
        name="crosswalk_sources",
        one="crosswalk source",
        title="Crosswalk sources",
        under="Tables that say what values are replaced by: in a database, or a CSV file. They are only ever read.",
        nothing=("No crosswalk source yet", "Add the database or the file that holds your pseudonyms, then a map for it."),
        states=lambda _: {},
        line=line,
    )
)
