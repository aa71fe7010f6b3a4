"""The whole configuration as one value: what a revision holds, what YAML says, what the engine reads."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ValidationError

import engine.alerts
import engine.channels
import engine.component
import engine.crosswalk
import engine.destinations
import engine.morphs
import engine.sources
from engine.alerts.base import Alert
from engine.component import FORMS, Component, ConfigModel, Member, rebuild, uses_families
from engine.crosswalk.map import CrosswalkMap
from engine.destinations.base import Destination
from engine.errors import Invalid, Problem
from engine.morphs.crosswalk import Crosswalk
from engine.rules.model import Rule, Ruleset, Schedule
from engine.sources.base import Source

__all__ = ["FAMILIES", "Configuration", "load_configuration", "problems_of", "words_of"]


@uses_families
class Configuration(ConfigModel):
    """One revision's content: each family a list of named items, order-free except where `priority` says."""

    sources: list[Annotated[Any, Member("source")]] = []
    destinations: list[Annotated[Any, Member("destination")]] = []
    schedules: list[Schedule] = []
    crosswalk_sources: list[Annotated[Any, Member("crosswalk_source")]] = []
    crosswalk_maps: list[CrosswalkMap] = []
    rulesets: list[Ruleset] = []
    channels: list[Annotated[Any, Member("channel")]] = []
    alerts: list[Annotated[Any, Member("alert")]] = []

    def source(self, name: str) -> Source | None:
        return next((s for s in self.sources if s.name == name), None)

    def destination(self, name: str) -> Destination | None:
        return next((d for d in self.destinations if d.name == name), None)

    def ordered_rulesets(self) -> list[Ruleset]:
        """Rulesets by priority, lowest first."""
        return sorted(self.rulesets, key=lambda r: r.priority)

    def document(self) -> dict[str, Any]:
        """As plain JSON values: only what was set or differs from the default, items by name, rules by priority."""
        out: dict[str, Any] = {}
        for family in FAMILIES:
            items = [_plain(item) for item in sorted(getattr(self, family), key=lambda i: i.name)]
            if family == "rulesets":
                for item in items:
                    item["rules"] = sorted(item.get("rules", []), key=lambda r: (r["priority"], r["name"]))
            out[family] = items
        return out


FAMILIES = tuple(Configuration.model_fields)
"""The families of the configuration; each is an API path, a YAML key and a page."""


def _plain(item: ConfigModel) -> dict[str, Any]:
    data: dict[str, Any] = item.model_dump(mode="json", exclude_defaults=True)
    _restore_kinds(item, data)
    return {"name": data.pop("name"), **data}


def _restore_kinds(model: BaseModel, data: dict[str, Any]) -> None:
    """A component's `kind` is a default, but what is written must say it: put it back, first, at every depth."""
    for field, value in model:
        inner = data.get(field)
        if isinstance(value, BaseModel) and isinstance(inner, dict):
            _restore_kinds(value, inner)
        elif isinstance(value, list | tuple) and isinstance(inner, list):
            for one, plain in zip(value, inner, strict=True):
                if isinstance(one, BaseModel) and isinstance(plain, dict):
                    _restore_kinds(one, plain)
    if isinstance(model, Component):
        rest = {k: v for k, v in data.items() if k != "kind"}
        data.clear()
        data.update({"kind": model.kind, **rest})


def problems_of(error: ValidationError, prefix: tuple[str | int, ...] = ()) -> list[Problem]:
    """A pydantic error as our own: places without the union's tags, words without pydantic's jargon."""
    return [Problem((*prefix, *_place(e["loc"])), words_of(e)) for e in error.errors(include_url=False)]


def words_of(error: Mapping[str, Any]) -> str:
    """What one of pydantic's errors says, without its jargon."""
    given = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return "There is no such field here."
        case "missing":
            return "This is needed."
        case "string_pattern_mismatch":
            return FORMS.get(given["pattern"], f"This has not the form that is needed ({given['pattern']}).")
        case "union_tag_invalid" | "union_tag_not_found":
            return f"Unknown kind; known are {given['expected_tags']}." if "expected_tags" in given else "`kind` is needed."
    words: str = error["msg"]
    return words.removeprefix("Value error, ").removeprefix("Assertion failed, ").replace("valid array", "valid list")


def _place(loc: tuple[str | int, ...]) -> Iterator[str | int]:
    """Drop the tag that pydantic puts behind an index for a tagged union: ("sources", 0, "dimse_listener", "port")."""
    tags = {"sources", "destinations", "crosswalk_sources", "morphs", "channels", "alerts"}
    for i, part in enumerate(loc):
        if i >= 2 and isinstance(loc[i - 1], int) and loc[i - 2] in tags and isinstance(part, str):
            continue
        yield part


def load_configuration(data: Mapping[str, Any]) -> Configuration:
    """Validate plain data (from YAML, the API or the store). Raises Invalid with every problem and its place.

    Places name items by their names where they have one, so that a person finds them: `rulesets main rules ct when`.
    """
    rebuild()
    try:
        # As JSON and strict: a switch is not a number, a number no text and no date. (What has no JSON form has no place here.)
        configuration = Configuration.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as e:
        raise Invalid([Problem(_named(data, p.loc), p.words) for p in problems_of(e)]) from e
    problems = list(_cross_problems(configuration))
    if problems:
        raise Invalid(problems)
    return configuration


def _named(data: Any, loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    out: list[str | int] = []
    for part in loc:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            data = None
        name = data.get("name") if isinstance(part, int) and isinstance(data, Mapping) else None
        out.append(name if isinstance(name, str) and name else part)
    return tuple(out)


def _twice(names: Iterable[Any]) -> list[Any]:
    return [name for name, n in Counter(names).items() if n > 1]


def _cross_problems(c: Configuration) -> Iterator[Problem]:
    """What no single item can know: names twice, priorities twice, references to what is not there."""
    for family in FAMILIES:
        for name in _twice(item.name for item in getattr(c, family)):
            yield Problem((family, name, "name"), f"The name {name} is used twice among the {family}.")
        for name in _twice(item.name.lower() for item in getattr(c, family)):
            same = sorted({item.name for item in getattr(c, family) if item.name.lower() == name})
            if len(same) > 1:
                yield Problem((family, same[-1], "name"), f"{' and '.join(same)} differ only in case: choose another name.")
    yield from _port_problems(c)
    for priority in _twice(r.priority for r in c.rulesets):
        same = [r.name for r in c.rulesets if r.priority == priority]
        for name in same[1:]:
            yield Problem(
                ("rulesets", name, "priority"),
                f"Priority {priority} is taken by the ruleset {same[0]}: each needs its own, or their order is chance.",
            )
    schedules = {s.name for s in c.schedules}
    for source in c.sources:
        schedule = getattr(source, "schedule", None)
        if schedule is not None and schedule not in schedules:
            yield Problem(("sources", source.name, "schedule"), _unknown("schedule", schedule, schedules))
    databases = {s.name for s in c.crosswalk_sources}
    for one in c.crosswalk_maps:
        if one.source not in databases:
            yield Problem(("crosswalk_maps", one.name, "source"), _unknown("crosswalk source", one.source, databases))
    for ruleset in c.rulesets:
        yield from _ruleset_problems(c, ruleset)
    for alert in c.alerts:
        yield from _alert_problems(c, alert)


def _port_problems(c: Configuration) -> Iterator[Problem]:
    """Two listeners on one port of one node: only the first could listen."""
    listening = [s for s in c.sources if s.runs and s.enabled and hasattr(s, "port")]
    for i, one in enumerate(listening):
        for other in listening[:i]:
            meet = not one.instances or not other.instances or set(one.instances) & set(other.instances)
            if one.port == other.port and meet:
                words = f"Port {one.port} is taken by the source {other.name}: choose another, or other instances."
                yield Problem(("sources", one.name, "port"), words)


def _ruleset_problems(c: Configuration, ruleset: Ruleset) -> Iterator[Problem]:
    for name in _twice(r.name for r in ruleset.rules):
        yield Problem(("rulesets", ruleset.name, "rules", name, "name"), f"The ruleset has two rules called {name}.")
    for priority in _twice(r.priority for r in ruleset.rules):
        same = [r.name for r in ruleset.rules if r.priority == priority]
        for name in same[1:]:
            yield Problem(
                ("rulesets", ruleset.name, "rules", name, "priority"),
                f"Priority {priority} is taken by the rule {same[0]}: each needs its own, or their order is chance.",
            )
    for rule in ruleset.rules:
        yield from _reference_problems(c, ("rulesets", ruleset.name, "rules", rule.name), rule)


def _alert_problems(c: Configuration, alert: Alert) -> Iterator[Problem]:
    """What an alert names: channels, and, by its kind, sources, destinations, a schedule."""
    for family in ("channels", "sources", "destinations"):
        known = {item.name for item in getattr(c, family)}
        for i, name in enumerate(getattr(alert, family, ())):
            if name not in known:
                yield Problem(("alerts", alert.name, family, i), _unknown(family.removesuffix("s"), name, known))
    schedule, schedules = getattr(alert, "schedule", None), {s.name for s in c.schedules}
    if schedule is not None and schedule not in schedules:
        yield Problem(("alerts", alert.name, "schedule"), _unknown("schedule", schedule, schedules))


def _reference_problems(c: Configuration, place: tuple[str | int, ...], rule: Rule) -> Iterator[Problem]:
    destinations = {d.name for d in c.destinations}
    schedules = {s.name for s in c.schedules}
    known_sources = {s.name for s in c.sources} | {s.kind for s in c.sources} | set(engine.component.kinds("source"))
    for i, name in enumerate(rule.destinations):
        if name not in destinations:
            yield Problem((*place, "destinations", i), _unknown("destination", name, destinations))
    for name in _twice(rule.destinations):
        yield Problem((*place, "destinations"), f"The destination {name} is named twice.")
    for i, name in enumerate(rule.sources):
        if name not in known_sources:
            yield Problem((*place, "sources", i), _unknown("source", name, {s.name for s in c.sources}))
    if rule.schedule is not None and rule.schedule not in schedules:
        yield Problem((*place, "schedule"), _unknown("schedule", rule.schedule, schedules))
    maps = {m.name for m in c.crosswalk_maps}
    for i, morph in enumerate(rule.morphs):
        if isinstance(morph, Crosswalk) and morph.map not in maps:
            yield Problem((*place, "morphs", i, "map"), _unknown("crosswalk map", morph.map, maps))


def _unknown(what: str, name: str, known: set[str]) -> str:
    return f"There is no {what} called {name}" + (f"; there are {', '.join(sorted(known))}." if known else " yet.")
