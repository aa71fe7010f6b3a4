"""One leaf of a condition: an operator, the rule's values and what they are compared with, as Python and as SQL.

Both sides stand beside each other here, so that they are read together and changed together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from engine.dicom.header import Element
from engine.rules.kinds import KINDS, Kind, kind_of, sql_reading, sql_text_forms, text_forms
from engine.rules.ops import Op, compile_regex
from engine.rules.sql import any_of, quote, quote_list, test_any

__all__ = ["Leaf", "text_leaf"]

Test = Callable[[Any], bool]


class Leaf:
    """An operator with its values, for elements of any VR: `holds` says it in Python, `sql_one` and `sql_many` in SQL."""

    __slots__ = ("_tests", "ignore_case", "negative", "op", "values")

    def __init__(self, op: Op, values: Sequence[str] = (), *, ignore_case: bool = False) -> None:
        self.op = op.positive
        self.negative = bool(op.negates)
        self.values = tuple(values)
        self.ignore_case = ignore_case
        self._tests: dict[str, Test | None] = {}

    def holds(self, elements: Sequence[Element]) -> bool:
        """Whether the leaf is true of the elements that its path leads to ([]: the tag is missing)."""
        if self.op.looks == "presence":
            return bool(elements) is not self.negative
        comparable = False
        for element in elements:
            try:
                test = self._tests[element.vr]
            except KeyError:
                kind = kind_of(element.vr)
                test = self._tests[element.vr] = None if kind is None else self.test(kind)
            if test is None:
                continue
            comparable = True
            for value in element.values or ("",):
                if test(value):
                    return not self.negative
        return comparable and self.negative

    # --- one value ------------------------------------------------------------------------------------

    def test(self, kind: Kind) -> Test | None:
        """The positive test of one value of a kind; None: it cannot be looked at so, and the leaf is false."""
        if self.op.looks != "span":
            return _any_form(kind, self._text_tests()) if kind.text else None
        if self._folds(kind):
            tests = [_searches(self._folded(kind, value)) for value in self.values]
            return _any_form(kind, [lambda text, t=t: t(kind.read(text)[0]) for t in tests])  # type: ignore[misc,index]
        return self._span_test(kind)

    def sql_test(self, kind: Kind, v: str) -> str | None:
        """`test` in SQL, of a value `v`; may be NULL for false."""
        if self.op.looks != "span":
            return any_of(self._sql_text(v)) if kind.text else None
        if self._folds(kind):
            read = kind.sql_read(v).first
            return any_of(f"regexp_matches({read}, {quote(self._folded(kind, value))})" for value in self.values)
        parsed = self._parsed(kind)
        if self.op.word in ("eq", "in") and len(parsed) > 1 and kind.sql_read(v).first == v:
            return f"{v} IN ({', '.join(kind.sql_bound(p, 'NULL')[0] for p in parsed)})"
        sql = self.op.sql
        assert sql is not None
        return sql_reading(kind, v, lambda r: any_of(sql(r, kind.sql_bound(p, r.offset)) for p in parsed))

    def _folds(self, kind: Kind) -> bool:
        return self.ignore_case and (kind.parts or "LO" in kind.vrs)

    def _folded(self, kind: Kind, value: str) -> str:
        assert self.op.pattern is not None
        return "(?i)" + self.op.pattern(kind.parse(value) if self.op.looks == "span" else value)

    def _text_tests(self) -> list[Test]:
        if self.ignore_case:
            assert self.op.pattern is not None
            return [_searches("(?i)" + self.op.pattern(value)) for value in self.values]
        assert self.op.test is not None
        return [self.op.test(value) for value in self.values]

    def _sql_text(self, v: str) -> Iterable[str]:
        assert self.op.sql is not None
        if not self.ignore_case:
            return [self.op.sql(v, value) for value in self.values]
        assert self.op.pattern is not None
        return [f"regexp_matches({v}, {quote('(?i)' + self.op.pattern(value))})" for value in self.values]

    def _parsed(self, kind: Kind) -> list[Any]:
        """The rule's values that mean something for a kind: a file may give a VR that the rule was not written for."""
        out = []
        for text in self.values:
            try:
                out.append(kind.parse(text))
            except ValueError:
                continue  # equal to no value of that kind
        return out

    def _span_test(self, kind: Kind) -> Test:
        bounds = [kind.bound(parsed) for parsed in self._parsed(kind)]
        if self.op.word in ("eq", "in") and "LO" in kind.vrs:
            return frozenset(bound("")[0] for bound in bounds).__contains__
        compare, read = self.op.test, kind.read
        assert compare is not None

        def test(value: Any) -> bool:
            span = read(value)
            return span is not None and any(compare(span, bound(value)) for bound in bounds)

        return _any_form(kind, [test]) if kind.parts else test

    # --- elements in SQL ------------------------------------------------------------------------------

    def sql_one(self, e: str) -> str:
        """`holds` of a JSON element `{"vr": .., "Value": [..]}`, or NULL where it is missing."""
        if self.op.looks == "presence":
            return f"({e} IS {'' if self.negative else 'NOT '}NULL)"
        return f"coalesce({self._sql_element(e, negative=self.negative)}, false)"

    def sql_many(self, elements: str) -> str:
        """`holds` of a list of JSON elements."""
        if self.op.looks == "presence":
            return f"(coalesce(len({elements}), 0) {'=' if self.negative else '>'} 0)"
        found = f"len(list_filter({elements}, lambda e: {self._sql_element('e', negative=False)})) > 0"
        if not self.negative:
            return f"coalesce({found}, false)"
        seen = quote_list(vr for vrs, _ in self._branches() for vr in vrs)
        comparable = f"len(list_filter({elements}, lambda e: list_contains({seen}, json_extract_string(e, '$.vr')))) > 0"
        return f"coalesce({comparable} AND NOT ({found}), false)"

    def sql_texts(self, values: str) -> str:
        """`holds` of one element with VR LO and these values, a list of texts that is not empty."""
        kind = kind_of("LO")
        assert kind is not None
        test = self.sql_test(kind, "v")
        assert test is not None
        return f"coalesce({'NOT ' if self.negative else ''}({test_any(values, 'v', test)}), false)"

    def sql_text(self, kind: Kind, v: str) -> str:
        """`holds` of one element of a kind with the single value `v`, a text (never NULL)."""
        test = test_any(sql_text_forms(kind, f"[{v}]"), "v", self.sql_test(kind, "v") or "false")
        if not kind.parts:
            test = self.sql_test(kind, v) or "false"
        return f"(NOT coalesce({test}, false))" if self.negative else f"coalesce({test}, false)"

    def _branches(self) -> list[tuple[tuple[str, ...], str]]:
        """VRs whose values are tested alike, with the SQL that tests a list of values `{values}`."""
        out: dict[str, tuple[str, ...]] = {}
        for kind in KINDS:
            test = self.sql_test(kind, "v")
            if test is not None:
                sql = test_any(sql_text_forms(kind, "{values}"), "v", test)
                out[sql] = out.get(sql, ()) + kind.vrs
        return [(vrs, sql) for sql, vrs in out.items()]

    def _sql_element(self, e: str, *, negative: bool) -> str:
        values = f"json_extract_string({e}, '$.Value[*]')"
        values = f"(CASE WHEN len({values}) = 0 THEN [''] ELSE {values} END)"
        turned = "NOT " if negative else ""
        when = " ".join(
            f"WHEN {', '.join(map(quote, vrs))} THEN {turned}({sql.replace('{values}', values)})" for vrs, sql in self._branches()
        )
        return f"CASE json_extract_string({e}, '$.vr') {when} END"


def text_leaf(op: Op, values: Sequence[str], *, ignore_case: bool) -> Callable[[str], bool]:
    """The same for one text that is no element (what is known of the sender): "" counts as missing."""
    leaf = Leaf(op, values, ignore_case=ignore_case)
    if leaf.op.looks == "presence":
        return lambda text: bool(text) is not leaf.negative
    kind = kind_of("LO")
    assert kind is not None
    test = leaf.test(kind)
    assert test is not None
    return lambda text: text != "" and test(text) is not leaf.negative


def _searches(pattern: str) -> Test:
    search = compile_regex(pattern).search
    return lambda text: search(text) is not None


def _any_form(kind: Kind, tests: list[Test]) -> Test:
    if not kind.parts and len(tests) == 1:
        (test,) = tests
        return lambda value: test(value if isinstance(value, str) else str(value))
    return lambda value: any(test(form) for form in text_forms(kind, value) for test in tests)
