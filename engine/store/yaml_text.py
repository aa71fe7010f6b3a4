"""The configuration as YAML, for people and for git.

Reading follows YAML 1.2's core schema, so that what people write is what they mean: only `true` and `false` are
booleans (`state: off` stays a word), only plain decimal digits are numbers (`07:00` and `0010` stay text), dates stay
text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from engine.errors import Invalid, Problem

__all__ = ["YamlText", "dump_yaml", "read_yaml"]

Place = tuple[str | int, ...]
LARGEST = 4_000_000  # characters; a thousand rules are a tenth of it
MOST_VALUES = 500_000  # aliases unfold: a small text must not become a large document
DEEPEST = 100

_Base: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's parser where it is built in


class _Loader(_Base):  # type: ignore[misc, valid-type]
    """YAML 1.2 core schema: the resolvers of YAML 1.1 are not taken over."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?[eE][-+]?[0-9]+)", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


@dataclass(frozen=True)
class YamlText:
    """What a YAML text says, and on which line each part of it stands."""

    data: Mapping[str, Any]
    lines: Mapping[Place, int] = field(repr=False)

    def line(self, place: Place) -> int | None:
        """The line of a place, or of the nearest one around it that stands in the text."""
        for end in range(len(place), 0, -1):
            if place[:end] in self.lines:
                return self.lines[place[:end]]
        return None

    def located(self, problems: list[Problem]) -> list[Problem]:
        """The problems with "line 12: " before their words."""
        return [
            Problem(p.loc, f"line {line}: {p.words}") if (line := self.line(p.loc)) is not None else p for p in problems
        ]


def read_yaml(text: str) -> YamlText:
    """Read a configuration. Raises Invalid with the line for what is no YAML, or no mapping of families."""
    if len(text) > LARGEST:
        raise Invalid([Problem((), f"The text is larger than {LARGEST // 1_000_000} million characters.")])
    try:
        _refuse_deep(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            reader = _Reader(loader)
            data = reader.value(node, (), ()) if node is not None else {}
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise Invalid([Problem((), f"{where}This is not YAML: {e.problem or e.context}.")]) from e
    except yaml.YAMLError as e:
        raise Invalid([Problem((), f"This is not YAML: {str(e).splitlines()[0]}.")]) from e
    if not isinstance(data, dict):
        raise Invalid([Problem((), "line 1: A configuration names families: `sources:`, `destinations:`, ...")])
    return YamlText(data, reader.lines)


def _refuse_deep(text: str) -> None:
    """Looks at the text event by event: building the tree of a very deep one overruns the parser's stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem="it is nested too deeply", problem_mark=event.start_mark)  # type: ignore[arg-type]


class _Reader:
    """Builds plain values and notes each one's line under its place (items of lists by name where they have one)."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader
        self._count = 0
        self.lines: dict[Place, int] = {}

    def value(self, node: yaml.Node, place: Place, inside: tuple[int, ...]) -> Any:
        self._count += 1
        if self._count > MOST_VALUES or len(inside) > DEEPEST or id(node) in inside:
            raise _at(node, "an alias refers to what it stands in, or unfolds without end")
        self.lines.setdefault(place, node.start_mark.line + 1)
        within = (*inside, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, within)
        if isinstance(node, yaml.SequenceNode):
            if node.tag != "tag:yaml.org,2002:seq":
                raise _at(node, f"the tag {node.tag} is not known here")
            return [self.value(item, (*place, self._item(item, i)), within) for i, item in enumerate(node.value)]
        try:
            return self._loader.construct_object(node)
        except (ValueError, LookupError, AttributeError) as e:  # what PyYAML lets through of a tag that does not fit its value
            kind = node.tag.rpartition(":")[2]
            raise _at(node, f"this value cannot be read as {kind}, or is too long for it") from e

    def _mapping(self, node: yaml.MappingNode, place: Place, inside: tuple[int, ...]) -> dict[str, Any]:
        if node.tag != "tag:yaml.org,2002:map":
            raise _at(node, f"the tag {node.tag} is not known here")
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _at(key_node, "a key must be a word")
            key = str(key_node.value)
            if key in out:
                raise _at(key_node, f"the key `{key}` is given twice")
            self.lines[(*place, key)] = key_node.start_mark.line + 1
            out[key] = self.value(value_node, (*place, key), inside)
        return out

    @staticmethod
    def _item(node: yaml.Node, index: int) -> str | int:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == "name" and isinstance(value, yaml.ScalarNode) and value.value:
                    return str(value.value)
        return index


def _at(node: yaml.Node, words: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=words, problem_mark=node.start_mark)


class _Dumper(yaml.SafeDumper):
    """Lists indented under their key; no aliases; text that either YAML version would misread is quoted."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = None
    if not value.replace("\n", "").isprintable():
        style = '"'  # among them line ends that only some readers take for one
    elif "\n" in value:
        style = "|"
    elif any(p.match(value) for _, p in _Loader.yaml_implicit_resolvers.get(value[:1], [])):
        style = "'"  # as 1.2 reads it; what 1.1 would misread is quoted by the dumper itself
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def dump_yaml(document: Mapping[str, Any]) -> str:
    """The document as YAML: the same text for the same document, one value a line, so that git shows what changed."""
    return yaml.dump(
        dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1_000_000
    )
