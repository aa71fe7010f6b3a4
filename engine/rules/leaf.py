"""One leaf of a condition: an operator, the rule's values and what they are compared with, as Python and as SQL.

Both sides stand beside each other here, so that they are read together and changed together. Values compare by the VR that
the dictionary gives the tag, whatever VR a file claims; by the file's own where the dictionary knows none (private tags).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from engine.dicom.header import Element
from engine.dicom.paths import TagPath
from engine.rules.condition import SenderTest, TagLeaf
from engine.rules.kinds import KINDS, Kind, kind_of, kinds_of, sql_compared, sql_text_forms, text_forms
from engine.rules.ops import OPS, Op, compile_regex
from engine.rules.sql import any_of, let, quote, quote_list, test_any

__all__ = ["Leaf", "sender_leaf", "text_test"]

Test = Callable[[Any], bool]


class Leaf:
    """An operator with its values: `holds` says it in Python, `sql_one`, `sql_many` and `sql_text` in SQL."""

    __slots__ = ("_tests", "ignore_case", "kind", "negative", "op", "values")

    def __init__(self, op: Op, values: Sequence[str] = (), *, ignore_case: bool = False, kind: Kind | None = None) -> None:
        """`kind`: how the values compare; None: as each element's own VR says."""
        self.op = op.positive
        self.negative = bool(op.negates)
        self.values = tuple(values)
        self.ignore_case = ignore_case
        self.kind = kind
        self._tests: dict[str, Test | None] = {}

    @classmethod
    def of(cls, condition: TagLeaf) -> Leaf:
        """The leaf of a rule's condition."""
        kinds = kinds_of(TagPath.parse(condition.tag))
        kind = kinds[0] if kinds else None
        return cls(OPS[condition.op], condition.values, ignore_case=condition.ignore_case, kind=kind)

    def holds(self, elements: Sequence[Element]) -> bool:
        """Whether the leaf is true of the elements that its path leads to ([]: the tag is missing)."""
        if self.op.looks == "presence":
            return bool(elements) is not self.negative
        comparable = False
        for element in elements:
            try:
                test = self._tests[element.vr]
            except KeyError:
                test = self._tests[element.vr] = self._test_for(element.vr)
            if test is None:
                continue
            comparable = True
            for value in element.values or ("",):
                if test(value):
                    return not self.negative
        return comparable and self.negative

    def _test_for(self, vr: str) -> Test | None:
        for vrs, kind in self._comparable():
            if vr in vrs:
                return self.test(kind)
        return None

    def _comparable(self) -> list[tuple[tuple[str, ...], Kind]]:
        """Which VRs of a file are read as which kind. Binary fractions have no text that two engines write alike: they
        are compared only where the tag's kind is theirs."""
        if self.kind is None:
            return [(kind.vrs, kind) for kind in KINDS]
        alike = tuple(vr for kind in KINDS if kind.text is self.kind.text for vr in kind.vrs)
        return [(alike, self.kind)]

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
        if not parsed:
            return "false"
        if self.op.word in ("eq", "in") and len(parsed) > 1 and kind.sql_read(v).first == v:
            return f"{v} IN ({', '.join(kind.sql_bound(p, 'NULL')[0] for p in parsed)})"
        sql = self.op.sql
        assert sql is not None
        some = "{0}" if not (self.op.ordered and kind.blank) else "({1} <> '' AND {0})"
        return sql_compared(kind, v, parsed, lambda r, bound: some.format(sql(r, bound), r.first))

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
            wanted = frozenset(bound("")[0] for bound in bounds)
            return lambda value: (value if isinstance(value, str) else str(value)) in wanted
        compare, read = self.op.test, kind.read
        assert compare is not None

        blank = self.op.ordered and kind.blank
        if len(bounds) == 1 and not blank and not kind.parts:
            (bound,) = bounds

            def single(value: Any) -> bool:
                span = read(value)
                return span is not None and bool(compare(span, bound(value)))

            return single

        def test(value: Any) -> bool:
            span = read(value)
            if span is None or (blank and span[0] == ""):
                return False
            return any(compare(span, bound(value)) for bound in bounds)

        return _any_form(kind, [test]) if kind.parts else test

    # --- elements in SQL ------------------------------------------------------------------------------

    def sql_one(self, e: str) -> str:
        """`holds` of a JSON element `{"vr": .., "Value": [..]}`, or NULL where it is missing. NULL, too, stands for false."""
        if self.op.looks == "presence":
            return f"({e} IS {'' if self.negative else 'NOT '}NULL)"
        return f"({self._sql_element(e, negative=self.negative)})"

    def sql_many(self, elements: str) -> str:
        """`holds` of a list of JSON elements; may be NULL for false."""
        if self.op.looks == "presence":
            return f"(coalesce(len({elements}), 0) {'=' if self.negative else '>'} 0)"
        found = f"len(list_filter({elements}, lambda e: {self._sql_element('e', negative=False)})) > 0"
        if not self.negative:
            return f"({found})"
        seen = quote_list(vr for vrs, _ in self._branches() for vr in vrs)
        comparable = f"len(list_filter({elements}, lambda e: list_contains({seen}, json_extract_string(e, '$.vr')))) > 0"
        return f"({comparable} AND NOT ({found}))"

    def sql_text(self, v: str) -> str:
        """`holds` of one element of the leaf's kind with the single value `v`, a text; NULL: it is missing. May be NULL for
        false."""
        if self.op.looks == "presence":
            return f"({v} IS {'' if self.negative else 'NOT '}NULL)"
        assert self.kind is not None
        test = self.sql_test(self.kind, v)
        if test is not None and self.kind.parts:
            test = test_any(sql_text_forms(self.kind, f"[{v}]"), "v", self.sql_test(self.kind, "v") or "false")
        if test is None:
            return "false"
        return f"({v} IS NOT NULL AND NOT coalesce({test}, false))" if self.negative else f"({test})"

    def sql_joined(self, v: str) -> str | None:
        """`holds` of all the values of an element, joined by a backslash in the text `v`, where one look at the whole tells
        it; else None. May be NULL for false."""
        joined = None if self.ignore_case or self.kind is None else self.op.sql_joined
        if joined is None or any("\\" in value for value in self.values):
            return None
        if self.kind is not None and self.kind.parts and self.op.word != "contains":
            return None  # a name's groups begin and end elsewhere
        found = any_of(joined(v, value) for value in self.values)
        return f"(NOT {found})" if self.negative else found

    def _branches(self) -> list[tuple[tuple[str, ...], str]]:
        """VRs whose values are tested alike, with the SQL that tests a list of values `{values}`."""
        out: dict[str, tuple[str, ...]] = {}
        for vrs, kind in self._comparable():
            test = self.sql_test(kind, "v")
            if test is not None:
                sql = test_any(sql_text_forms(kind, "{values}"), "v", test)
                out[sql] = out.get(sql, ()) + vrs
        return [(vrs, sql) for sql, vrs in out.items()]

    def _sql_element(self, e: str, *, negative: bool) -> str:
        vr, values = f"json_extract_string({e}, '$.vr')", f"json_extract_string({e}, '$.Value[*]')"
        branches = self._branches()
        if len(branches) > 1:  # read once for all of them
            return let("h", f"{{'t': {vr}, 'v': {values}}}", _by_vr(branches, "h.t", "h.v", negative=negative))
        return _by_vr(branches, vr, values, negative=negative)


def _by_vr(branches: list[tuple[tuple[str, ...], str]], vr: str, values: str, *, negative: bool) -> str:
    values = f"(CASE WHEN len({values}) = 0 THEN [''] ELSE {values} END)"
    turned = "NOT " if negative else ""
    when = " ".join(
        f"WHEN {vr} IN ({', '.join(map(quote, vrs))}) THEN {turned}({sql.replace('{values}', values)})" for vrs, sql in branches
    )
    return f"CASE {when} END" if when else "false"


def sender_leaf(condition: SenderTest) -> Leaf:
    """The leaf for what is known of a sender: one text."""
    return Leaf(OPS[condition.op], condition.values, ignore_case=condition.ignore_case, kind=kind_of("LO"))


def text_test(leaf: Leaf) -> Callable[[str], bool]:
    """`leaf.holds` for one text that is no element; "" counts as missing."""
    if leaf.op.looks == "presence":
        return lambda text: bool(text) is not leaf.negative
    assert leaf.kind is not None
    test = leaf.test(leaf.kind)
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
