"""A rule as one SQL condition over history's `instances`: the second engine, held equal to the first by a property test.

Tags with a column of their own (`columns`) are read from it; all others from the header's JSON, which is read once for all
of them. Without header JSON (`AXIOM_HISTORY_HEADERS` off) a tag without a column is missing. Values enter as literals
made by `sql.quote`. A condition's SQL may be NULL for false; `not` and a rule as a whole make true or false of it (to do so in
each leaf costs more than most leaves do).

Columns are asked first: a header is only taken apart where they leave a rule open, the cheapest of its leaves first. DuckDB
computes every part of an AND in a result column, but not a CASE's other way: so what is to be spared stands behind a CASE.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from engine.dicom.paths import Step, TagPath
from engine.rules.columns import column_of
from engine.rules.condition import SenderLeaf, TagLeaf
from engine.rules.leaf import Leaf, sender_leaf
from engine.rules.model import Rule, Schedule
from engine.rules.ops import OPS
from engine.rules.schedule import offset_changes
from engine.rules.sql import any_of, let, quote

__all__ = ["ToSql", "rule_sql"]


def rule_sql(rule: Rule, schedules: Sequence[Schedule] = ()) -> str:
    """All that a rule asks for (sources, schedule, sender, tags) as a boolean SQL expression over `instances`.

    Raises ValueError when the rule names a schedule that is not among `schedules`.
    """
    compiler = ToSql(schedules)
    sql = compiler.rule(rule)
    extract = compiler.extract
    return sql if extract is None else let("x", extract, sql)


USUAL_BLOCKS = range(0x10, 0x14)
"""Where private elements are looked for first."""
_OTHER_BLOCKS = '"{group:04X}00(?:1[4-9A-F]|[2-9A-F][0-9A-F])"'
"""RE2: a creator's key in a header where the usual blocks end (or a text that looks so: it is then looked for in vain)."""


class ToSql:
    """Compiles several rules over one reading of the header: their SQL speaks of `x`, which is `extract`.

    Select `extract AS x` in an inner query when it is not None, and the rules over that.
    """

    def __init__(self, schedules: Sequence[Schedule] = ()) -> None:
        self._schedules = {schedule.name: schedule for schedule in schedules}
        self._tags: list[int] = []
        self._open: list[str] = []
        """What the columns say where a rule looks at the header."""

    @property
    def extract(self) -> str | None:
        """The elements that the compiled rules look at, as a list of JSON; None when none is needed."""
        if not self._tags:
            return None
        elements = f"json_extract(header, [{', '.join(quote(_key_path(tag)) for tag in self._tags)}])"
        return elements if "true" in self._open else f"(CASE WHEN {any_of(self._open)} THEN {elements} END)"

    def rule(self, rule: Rule) -> str:
        """A rule's whole condition."""
        parts: list[str] = []
        deep: list[tuple[int, str]] = []
        if rule.sources:
            names = ", ".join(map(quote, rule.sources))
            parts.append(f"(source IN ({names}) OR source_kind IN ({names}))")
        if rule.association is not None:
            parts.append(self.condition(rule.association))
        if rule.schedule is not None:
            if rule.schedule not in self._schedules:
                raise ValueError(f"There is no schedule called {rule.schedule}.")
            parts.append(schedule_sql(self._schedules[rule.schedule]))
        for condition in _conjuncts(rule.when):
            if _looks_deep(condition):
                deep.append((_cost(condition), self.condition(condition)))
            else:
                parts.append(self.condition(condition))
        shallow = _all_of(parts)
        if deep:
            self._open.append(shallow)
        answer = "true"
        for sql in reversed([shallow, *dict.fromkeys(sql for _, sql in sorted(deep, key=lambda part: part[0]))]):
            answer = f"(CASE WHEN {sql} THEN {answer} ELSE false END)" if sql != "true" else answer
        return answer

    def condition(self, condition: Any) -> str:
        """A condition on tags or on the sender (`engine.rules.condition`)."""
        if isinstance(condition, TagLeaf):
            return self._tag(condition)
        if isinstance(condition, SenderLeaf):
            column = '"user"' if condition.field == "user" else condition.field
            return sender_leaf(condition.test).sql_text(f"nullif({column}, '')")
        if hasattr(condition, "all"):
            return _all_of([self.condition(child) for child in condition.all])
        if hasattr(condition, "any"):
            return any_of([self.condition(child) for child in condition.any])
        return f"(CASE WHEN {self.condition(condition.negated)} THEN false ELSE true END)"

    def _tag(self, condition: TagLeaf) -> str:
        leaf, path = Leaf.of(condition), TagPath.parse(condition.tag)
        column = column_of(path)
        if column is not None:
            return self._presence(leaf, path, column) if leaf.op.looks == "presence" else _column(leaf, column)
        return leaf.sql_one(self._one(path)) if _names_one(path) else leaf.sql_many(self._many(path))

    def _presence(self, leaf: Leaf, path: TagPath, column: str) -> str:
        """Whether a tag with a column is there: a column is NULL too where a file declares its tag to be bytes."""
        there = f"({column} IS NOT NULL OR {self._one(path)} IS NOT NULL)"
        return f"(NOT {there})" if leaf.negative else there

    def _top(self, tag: int) -> str:
        """An element of the data set itself, as JSON."""
        if tag not in self._tags:
            self._tags.append(tag)
        return f"x[{self._tags.index(tag) + 1}]"

    def _first(self, step: Step) -> str:
        """The element that a path's first step names, as JSON or NULL. Private blocks are nearly always the first of their
        group, whose places are known: the header's keys are gone through for the others alone."""
        if step.tag is not None:
            return self._top(step.tag)
        group, found = step.group << 16, []
        for block in USUAL_BLOCKS:
            creator, element = self._top(group | block), self._top(group | block << 8 | step.element)
            found.append(f"CASE WHEN json_extract_string({creator}, '$.Value[0]') = {quote(step.creator)} THEN {element} END")
        others = f"regexp_matches(header, {quote(_OTHER_BLOCKS.format(group=step.group))})"
        return f"coalesce({', '.join(found)}, CASE WHEN {others} THEN {_private('[header]', step)}[1] END)"

    def _one(self, path: TagPath) -> str:
        """The element of a path that names one place, as JSON or NULL."""
        first, *rest = path.steps
        element = self._first(first)
        if rest:
            element = f"json_extract({element}, {quote(_inside(first, rest))})"
        return _with_item(element, path.steps[-1])

    def _many(self, path: TagPath) -> str:
        """The elements of any other path, as a list of JSON."""
        first, *rest = path.steps
        if rest and all(step.tag is not None for step in rest):
            elements = f"json_extract({self._first(first)}, {quote(_inside(first, rest))})"
        else:
            elements, before = f"[{self._first(first)}]", first
            for step in rest:
                items = _items(elements, before)
                elements = _private(items, step) if step.tag is None else _members(items, step.tag)
                before = step
        there = f"list_filter({elements}, lambda e: e IS NOT NULL)"
        if path.steps[-1].index is not None:
            there = f"list_filter({there}, lambda e: {_with_item('e', path.steps[-1])} IS NOT NULL)"
        return there


def _names_one(path: TagPath) -> bool:
    """Whether a path leads to one place at most, whose way is known."""
    return all(step.tag is not None for step in path.steps[1:]) and not any(step.all for step in path.steps[:-1])


def _inside(before: Step, steps: Sequence[Step]) -> str:
    """The JSON path of standard elements in the items of an element."""
    path = "$"
    for step in steps:
        assert step.tag is not None
        path += f".Value[{'*' if before.all else before.index}].{_key(step.tag)}"
        before = step
    return path


def _conjuncts(condition: Any) -> list[Any]:
    """The conditions that all have to hold for this one to hold; None asks nothing."""
    if condition is None:
        return []
    return [part for child in condition.all for part in _conjuncts(child)] if hasattr(condition, "all") else [condition]


def _looks_deep(condition: Any) -> bool:
    """Whether a condition needs the header: what is known of a sender, and tags with a column, do not."""
    if isinstance(condition, TagLeaf):
        return column_of(TagPath.parse(condition.tag)) is None or OPS[condition.op].looks == "presence"
    if isinstance(condition, SenderLeaf):
        return False
    children = next((getattr(condition, name) for name in ("all", "any") if hasattr(condition, name)), None)
    return any(map(_looks_deep, [condition.negated] if children is None else children))


def _cost(condition: Any) -> int:
    """About what a condition costs for one header: those that cost least are asked first."""
    if isinstance(condition, TagLeaf):
        path, leaf = TagPath.parse(condition.tag), Leaf.of(condition)
        private = sum(4 * (1 if n == 0 else 2) for n, step in enumerate(path.steps) if step.tag is None)
        read = 0 if leaf.op.looks == "presence" else 1 if leaf.op.looks == "text" else 2
        return len(path.steps) + 2 * path.has_wildcard + private + read
    if isinstance(condition, SenderLeaf):
        return 1
    children = next((getattr(condition, name) for name in ("all", "any") if hasattr(condition, name)), None)
    return sum(map(_cost, [condition.negated] if children is None else children))


def _all_of(parts: Iterable[str]) -> str:
    unique = list(dict.fromkeys(parts))
    return "(" + " AND ".join(unique) + ")" if unique else "true"


def _column(leaf: Leaf, column: str) -> str:
    """A leaf over a typed column: nearly always one value, else several joined by a backslash."""
    joined = leaf.sql_joined(column)
    if joined is not None:
        return joined
    one = leaf.sql_text(column)
    several = f"list_transform(string_split({column}, '\\'), lambda s: {_positive(leaf).sql_text('s')})"
    found = f"list_contains({several}, true)"
    return f"(CASE WHEN contains({column}, '\\') THEN {'NOT ' if leaf.negative else ''}{found} ELSE {one} END)"


def _positive(leaf: Leaf) -> Leaf:
    return Leaf(leaf.op, leaf.values, ignore_case=leaf.ignore_case, kind=leaf.kind)


def _key(tag: int) -> str:
    return f'"{tag:08X}"'


def _key_path(tag: int) -> str:
    return f"$.{_key(tag)}"


def _with_item(element: str, step: Step) -> str:
    """The element, if a `[n]` behind the path's last step finds its item."""
    if step.index is None:
        return element
    there = f"json_extract_string({element}, '$.vr') = 'SQ' AND json_extract({element}, '$.Value[{step.index}]') IS NOT NULL"
    return f"(CASE WHEN {there} THEN {element} END)"


def _items(elements: str, step: Step) -> str:
    """The items of sequences that a step names: all of them or one."""
    if step.all:
        return f"flatten(list_transform({elements}, lambda e: coalesce(json_extract(e, '$.Value[*]'), [])))"
    return f"list_filter(list_transform({elements}, lambda e: json_extract(e, '$.Value[{step.index}]')), lambda i: i IS NOT NULL)"


def _members(items: str, tag: int) -> str:
    return f"list_filter(list_transform({items}, lambda i: json_extract(i, {quote(_key_path(tag))})), lambda e: e IS NOT NULL)"


def _private(items: str, step: Step) -> str:
    """The private element of each item: in the first block of its creator that holds it (PS3.5 7.8.1)."""
    group = f"{step.group:04X}"
    # Keys are eight hexadecimal digits. They are sifted before values are: a path that is made of a key reads all of the item.
    creators = f"list_sort(list_filter(json_keys(i), lambda k: k BETWEEN '{group}0010' AND '{group}00FF'))"
    creator = f"json_extract_string(i, '$.\"' || k || '\".Value[0]') = {quote(step.creator)}"
    blocks = f"list_filter({creators}, lambda k: coalesce({creator}, false))"
    found = f"list_transform({blocks}, lambda k: json_extract(i, '$.\"{group}' || substr(k, 7, 2) || '{step.element:02X}\"'))"
    first = f"list_filter({found}, lambda e: e IS NOT NULL)[1]"
    return f"list_filter(list_transform({items}, lambda i: {first}), lambda e: e IS NOT NULL)"


def schedule_sql(schedule: Schedule) -> str:
    """`schedule.active(received_at)` in SQL, with the zone's offsets of 2000 to 2060 written out: both engines use the
    same time zone data, whatever DuckDB was built with."""
    utc = "(received_at AT TIME ZONE 'UTC')"
    changes = offset_changes(schedule.time_zone)
    whens = " ".join(
        f"WHEN {utc} >= TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S}' THEN {int(offset.total_seconds())}"
        for moment, offset in reversed(changes[1:])
    )
    first = int(changes[0][1].total_seconds())
    seconds = f"(CASE {whens} ELSE {first} END)" if whens else str(first)
    return f"coalesce({let('w', f'{utc} + to_seconds({seconds})', _on_wall(schedule))}, false)"


def _on_wall(schedule: Schedule) -> str:
    minute = "(hour(w) * 60 + minute(w))"
    today, yesterday = "CAST(w AS DATE)", "(CAST(w AS DATE) - 1)"
    parts = []
    if not schedule.ranges:
        parts.append(_begun(schedule, today, "true"))
    for r in schedule.ranges:
        start, end = r.minutes
        days = ", ".join(str(number) for number, day in enumerate(_DAYS, 1) if day in r.days)
        parts.append(_begun(schedule, today, f"isodow({today}) IN ({days}) AND {minute} >= {start} AND {minute} < {end}"))
        if end > 1440:
            parts.append(_begun(schedule, yesterday, f"isodow({yesterday}) IN ({days}) AND {minute} < {end - 1440}"))
    return any_of(parts)


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _begun(schedule: Schedule, day: str, test: str) -> str:
    if not schedule.exceptions:
        return f"({test})"
    dates = ", ".join(f"DATE '{date:%Y-%m-%d}'" for date in sorted(set(schedule.exceptions)))
    return f"({test} AND {day} NOT IN ({dates}))"
