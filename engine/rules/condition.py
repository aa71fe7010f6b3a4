"""Conditions: trees of `all`, `any` and `not` over leaves, on tags (`when`) and on the sender (`association`).

    when: {all: [{tag: Modality, op: eq, value: CT}, {not: {tag: PatientID, op: startswith, value: TEST}}]}
    association: {any: [{calling_ae: {op: eq, value: CT01}}, {source_ip: {op: ip_in_subnet, value: 10.1.0.0/16}}]}

Everything that can be wrong with a leaf is found here, when it is saved, and told beside the field that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WrapValidator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from engine.component import ConfigModel
from engine.dicom.paths import TagPath, TagPathText
from engine.rules.addresses import parse_address, parse_subnet
from engine.rules.kinds import Kind, kinds_of
from engine.rules.ops import ADDRESS_FIELDS, ASSOCIATION_FIELDS, OPS, Op, compile_regex

__all__ = [
    "AllOf", "AllOfSenders", "AnyOf", "AnyOfSenders", "AssociationCondition", "Condition", "NoneOf", "NoneOfSenders",
    "SenderLeaf", "SenderTest", "TagLeaf",
]  # fmt: skip

DEEPEST = 20
"""Levels of a tree: far more than a person can read, few enough for every stack."""


class _Tree(ConfigModel):
    model_config = ConfigDict(serialize_by_alias=True, validate_by_alias=True)


def _text_of(value: Any) -> Any:
    """YAML's own types as the texts that were meant: `value: 12` is "12", `value: 2024-01-31` is "20240131"."""
    if isinstance(value, bool):
        word = "true" if value else "false"
        raise ValueError(f'YAML reads this as {word}: write the text in quotes, "YES" or "{word}"')  # noqa: TRY004
    if isinstance(value, datetime):
        return value.strftime("%Y%m%d%H%M%S")
    if isinstance(value, date):
        return value.strftime("%Y%m%d")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str) and ("\0" in value or not _encodes(value)):
        raise ValueError("holds a character that no text can hold")
    return value


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


LONGEST = 10_240
MOST = 10_000
Written = Annotated[str, Field(max_length=LONGEST)] | float
Several = Annotated[list[Written], Field(min_length=1, max_length=MOST)]
"""What values may be written as, for the schema."""
ValueText = Annotated[str, BeforeValidator(_text_of), Field(max_length=LONGEST)]
_ONE = TypeAdapter(ValueText)
_MANY = TypeAdapter(Annotated[list[ValueText], Field(min_length=1, max_length=MOST)])


def _one_or_many(value: Any, handler: Callable[[Any], Any]) -> Any:
    """Either a text or a list of them: chosen by what is given, so that errors speak of that alone."""
    if value is None:
        return handler(value)
    return _MANY.validate_python(list(value)) if isinstance(value, list | tuple) else _ONE.validate_python(value)


Value = Annotated[
    str | list[str] | None,
    WrapValidator(_one_or_many, json_schema_input_type=Written | Several | None),
    Field(
        description="What to compare with; a list for `in` and `not_in`; nothing for `exists` and `not_exists`.",
        examples=["CT", ["CT", "PT"]],
    ),
]
IgnoreCase = Annotated[bool, Field(strict=True, description="Take upper and lower case for the same; for texts.")]
OpName = Literal[
    "eq", "ne", "gt", "ge", "lt", "le", "exists", "not_exists", "contains", "not_contains", "startswith", "endswith",
    "regex", "not_regex", "in", "not_in",
]  # fmt: skip
SenderOpName = Literal[OpName, "ip_eq", "ip_startswith", "ip_in_subnet"]


def _wrong(model: type[BaseModel], field: str, words: str, value: Any) -> ValidationError:
    """An error that stands beside one field, though several had to be looked at to find it."""
    error = PydanticCustomError("condition", "{words}", {"words": words[:1].upper() + words[1:] + "."})
    return ValidationError.from_exception_data(model.__name__, [InitErrorDetails(type=error, loc=(field,), input=value)])


class _Leaf(_Tree):
    """What leaves have in common. The fields are named in each class, in the order in which people write them."""

    if TYPE_CHECKING:
        value: Value
        ignore_case: IgnoreCase

    @property
    def values(self) -> tuple[str, ...]:
        """The value or values, always as a tuple."""
        if self.value is None:
            return ()
        return (self.value,) if isinstance(self.value, str) else tuple(self.value)

    def _check(self, op: Op) -> None:
        """What is true of every leaf: the value is there where one is needed, and fits the operator."""
        if op.takes == "nothing" and self.value is not None:
            raise _wrong(type(self), "value", f"`{op.word}` takes no value", self.value)
        if op.takes != "nothing" and self.value is None:
            raise _wrong(type(self), "value", f"`{op.word}` needs a value", None)
        if op.takes == "many" and not isinstance(self.value, list):
            raise _wrong(type(self), "value", f"`{op.word}` needs a list of values, such as [CT, PT]", self.value)
        if op.takes == "one" and isinstance(self.value, list):
            hint = {"eq": ": for several use `in`", "ne": ": for several use `not_in`"}.get(op.word, "")
            raise _wrong(type(self), "value", f"`{op.word}` takes one value, not a list{hint}", self.value)
        if self.ignore_case and not op.can_ignore_case:
            raise _wrong(type(self), "ignore_case", f"`{op.word}` does not look at letters: it cannot ignore their case", True)
        if op.looks in ("text", "address") and self.value == "":
            raise _wrong(type(self), "value", f"an empty text would always do for `{op.word}`", "")
        if op.positive.word == "regex":
            for text in self.values:
                self._try(lambda text=text: compile_regex(f"(?i){text}" if self.ignore_case else text))  # type: ignore[misc]

    def _try(self, parse: Callable[[], Any]) -> None:
        try:
            parse()
        except ValueError as e:
            raise _wrong(type(self), "value", str(e), self.value) from e


class TagLeaf(_Leaf):
    """One tag compared with a value. A missing tag is never a match (also `ne`, `not_in`): use `not_exists` for it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"tag": "Modality", "op": "eq", "value": "CT"}]})

    tag: TagPathText
    op: OpName = Field(description="How to compare.", examples=["eq"])
    value: Value = None
    ignore_case: IgnoreCase = False

    @model_validator(mode="after")
    def _fits(self) -> TagLeaf:
        op, path = OPS[self.op], TagPath.parse(self.tag)
        self._check(op)
        if op.looks == "presence" or not path.vr:
            return self
        kinds = kinds_of(path)
        if not kinds:
            if path.vr != "UN":
                what = "a sequence" if path.vr == "SQ" else f"binary (VR {path.vr})"
                raise _wrong(TagLeaf, "op", f"{path} is {what}: only `exists` and `not_exists` can be asked of it", self.op)
            return self
        self._fits_kind(op, path, kinds[0])
        return self

    def _fits_kind(self, op: Op, path: TagPath, kind: Kind) -> None:
        if op.looks == "text" and not kind.text:
            words = f"{path} holds binary numbers (VR {path.vr}), no text: `{op.word}` cannot look at it"
            raise _wrong(TagLeaf, "op", words, self.op)
        if op.ordered and not kind.ordered:
            raise _wrong(TagLeaf, "op", f"a {kind.word} (VR {path.vr}) is neither more nor less than another", self.op)
        if op.looks != "span":
            return
        for text in self.values:
            if text == "" and op.positive.word in ("eq", "in"):
                continue  # asks for an empty element
            self._try(lambda text=text: kind.parse(text))  # type: ignore[misc]
            if op.ordered and kind.is_range(text):
                raise _wrong(TagLeaf, "value", f"`{op.word}` needs a moment, not a range", text)


class SenderTest(_Leaf):
    """How one thing that is known of the sender is compared."""

    op: SenderOpName = Field(description="How to compare.", examples=["eq"])
    value: Value = None
    ignore_case: IgnoreCase = False

    @model_validator(mode="after")
    def _fits(self) -> SenderTest:
        op = OPS[self.op]
        self._check(op)
        if op.word == "ip_eq":
            self._try(lambda: parse_address(self.values[0]))
        if op.word == "ip_in_subnet":
            self._try(lambda: parse_subnet(self.values[0]))
        return self


class SenderLeaf(_Tree):
    """One thing that is known of the sender, compared. What is not known (empty) is never a match."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"calling_ae": {"op": "eq", "value": "CT01"}}]})

    calling_ae: SenderTest | None = Field(default=None, description="The sender's AE title.")
    called_ae: SenderTest | None = Field(default=None, description="The AE title that it asked for.")
    source_ip: SenderTest | None = Field(default=None, description="Its IP address.")
    tls_subject: SenderTest | None = Field(default=None, description="The subject of its TLS certificate (RFC 4514).")
    user: SenderTest | None = Field(default=None, description="The signed-in user or key of a STOW request or an upload.")

    @property
    def field(self) -> str:
        """Which one it is."""
        return next(name for name in ASSOCIATION_FIELDS if getattr(self, name) is not None)

    @property
    def test(self) -> SenderTest:
        found: SenderTest = getattr(self, self.field)
        return found

    @model_validator(mode="after")
    def _one(self) -> SenderLeaf:
        given = [name for name in ASSOCIATION_FIELDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise PydanticCustomError("condition", "One of {names} is needed; for several, put them into `all` or `any`.",
                                      {"names": ", ".join(ASSOCIATION_FIELDS)})  # fmt: skip
        if OPS[self.test.op].looks == "address" and given[0] not in ADDRESS_FIELDS:
            inner = _wrong(SenderTest, "op", f"`{self.test.op}` is for source_ip: {given[0]} is no IP address", self.test.op)
            error = InitErrorDetails(type=PydanticCustomError("condition", "{words}", {"words": inner.errors()[0]["msg"]}),
                                     loc=(given[0], "op"), input=self.test.op)  # fmt: skip
            raise ValidationError.from_exception_data("SenderLeaf", [error])
        return self


def _reader(shapes: Callable[[], Mapping[str, type[BaseModel]]], leaf: Callable[[], type[BaseModel]], hint: str) -> WrapValidator:
    """Chooses the shape of a node by its keys, so that errors speak of that shape alone."""

    def read(data: Any, handler: Callable[[Any], Any]) -> Any:
        if isinstance(data, BaseModel):
            return handler(data)
        if not isinstance(data, Mapping):
            raise PydanticCustomError("condition", "A condition is {hint}.", {"hint": hint})
        chosen = [key for key in shapes() if key in data]
        if len(chosen) > 1 or (chosen and len(data) > 1):
            raise PydanticCustomError("condition", "`{key}` stands alone in its place.", {"key": chosen[0]})
        if not data:
            raise PydanticCustomError("condition", "A condition is {hint}.", {"hint": hint})
        return (shapes()[chosen[0]] if chosen else leaf()).model_validate(data)

    return WrapValidator(read)


_TAG_HINT = "{tag: .., op: .., value: ..}, {all: [..]}, {any: [..]} or {not: ..}"
_SENDER_HINT = "{calling_ae: {op: .., value: ..}} (or another field of the sender), {all: [..]}, {any: [..]} or {not: ..}"

_READ = _reader(lambda: {"all": AllOf, "any": AnyOf, "not": NoneOf}, lambda: TagLeaf, _TAG_HINT)
_READ_SENDER = _reader(
    lambda: {"all": AllOfSenders, "any": AnyOfSenders, "not": NoneOfSenders}, lambda: SenderLeaf, _SENDER_HINT
)
Node = Annotated["TagLeaf | AllOf | AnyOf | NoneOf", _READ]
SenderNode = Annotated["SenderLeaf | AllOfSenders | AnyOfSenders | NoneOfSenders", _READ_SENDER]


class AllOf(_Tree):
    """Every one of them."""

    all: list[Node] = Field(min_length=1, max_length=1000)


class AnyOf(_Tree):
    """At least one of them."""

    any: list[Node] = Field(min_length=1, max_length=1000)


class NoneOf(_Tree):
    """The contrary."""

    negated: Node = Field(alias="not")


class AllOfSenders(_Tree):
    """Every one of them."""

    all: list[SenderNode] = Field(min_length=1, max_length=1000)


class AnyOfSenders(_Tree):
    """At least one of them."""

    any: list[SenderNode] = Field(min_length=1, max_length=1000)


class NoneOfSenders(_Tree):
    """The contrary."""

    negated: SenderNode = Field(alias="not")


def _not_too_deep(data: Any) -> Any:
    level = [data]
    for _ in range(DEEPEST):
        level = [child for node in level if isinstance(node, Mapping) for child in _children(node)]
        if not level:
            return data
    raise ValueError(f"a condition is at most {DEEPEST} levels deep")


def _children(node: Mapping[Any, Any]) -> list[Any]:
    out: list[Any] = []
    for key in ("all", "any", "not"):
        child = node.get(key)
        out += child if isinstance(child, list | tuple) else [] if child is None else [child]
    return out


Condition = Annotated[TagLeaf | AllOf | AnyOf | NoneOf, _READ, BeforeValidator(_not_too_deep)]
"""What an instance must be: a leaf or a tree of leaves on its tags."""
AssociationCondition = Annotated[
    SenderLeaf | AllOfSenders | AnyOfSenders | NoneOfSenders, _READ_SENDER, BeforeValidator(_not_too_deep)
]
"""What the sender must be: a leaf or a tree of leaves on what is known of it."""

for _model in (AllOf, AnyOf, NoneOf, AllOfSenders, AnyOfSenders, NoneOfSenders):
    _model.model_rebuild()
