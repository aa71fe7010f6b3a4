"""Forms made from what the API says of each field (FieldSpec): a new kind of component needs no page of its own.

`Form.ask` draws the fields and gives back the item as it stands. Each problem is shown beside its field. What is left at
its default is left out, so that configurations stay short; a stored secret stays when its field is left blank.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from workbench.client import Client, Problem
from workbench.condition import USUAL, edit_condition, tag_input
from workbench.morphs import edit_morphs
from workbench.parts import md

__all__ = ["Form"]

Spec = Mapping[str, Any]
LATER = (
    "enabled", "parallel", "retry", "instances", "description", "priority", "original_attributes", "invalid", "vr", "gather",
    "quiet", "at_most", "duplicates",
)  # fmt: skip
"""Fields that most people leave as they are: they wait under "More settings"."""
WIDE = ("model", "condition", "association", "morphs", "list", "mapping", "json")
VISIBLE_OPTIONAL = 8
"""So many fields with defaults stand open; more of them go under "More settings"."""
REFERENCES = ("env:", "file:", "stored:", "gcp-sm:")
MARK = "\u2022\u2022\u2022\u2022\u2022\u2022"


class Form:
    """Draws fields. `client` gives it names of other items, tags and kinds."""

    def __init__(self, client: Client, *, later: Sequence[str] = LATER) -> None:
        self.client = client
        self.later = later

    def ask(
        self, fields: Sequence[Spec], value: Mapping[str, Any], key: str, problems: Sequence[Problem] = ()
    ) -> dict[str, Any]:
        """The fields as a form under unique `key`; the item as filled in. Problems' places start at the field's name."""
        names = {f["name"] for f in fields}
        for problem in problems:
            if not problem.loc or problem.loc[0] not in names:
                st.markdown(f":red[{md(problem.words)}]")
        first, more = self._sort(fields)
        out: dict[str, Any] = {}
        self._grid(first, value, key, problems, out)
        if more:
            wrong = any(p.loc and p.loc[0] in {f["name"] for f in more} for p in problems)
            with st.expander("More settings", expanded=wrong):
                self._grid(more, value, f"{key}", problems, out)
        return {f["name"]: out[f["name"]] for f in fields if f["name"] in out}

    def _sort(self, fields: Sequence[Spec]) -> tuple[list[Spec], list[Spec]]:
        first: list[Spec] = []
        more: list[Spec] = []
        for field in fields:
            late = field["name"] in self.later or len(first) >= VISIBLE_OPTIONAL
            (more if late and (not field.get("required") or field["name"] == "priority") else first).append(field)
        return first, more

    def _grid(
        self,
        fields: Sequence[Spec],
        value: Mapping[str, Any],
        key: str,
        problems: Sequence[Problem],
        out: dict[str, Any],
    ) -> None:
        columns: list[Any] = []
        for field in fields:
            if field["type"] in WIDE:
                columns = []
                place: Any = st.container()
            else:
                columns = columns or list(st.columns(2, gap="medium"))
                place = columns.pop(0)
            mine = [Problem(p.loc[1:], p.words) for p in problems if p.loc and p.loc[0] == field["name"]]
            with place:
                given = self.field(
                    field, value.get(field["name"], field.get("default")), f"{key}.{field['name']}", mine
                )
            kept = field["name"] in value
            if given is None and not (kept and value[field["name"]] is None):
                continue
            if kept or field.get("required") or given != field.get("default"):
                out[field["name"]] = given

    def field(self, spec: Spec, value: Any, key: str, problems: Sequence[Problem]) -> Any:
        """One field with its problems under it; None: nothing given."""
        kind, _, family = spec["type"].partition(":")
        draw = getattr(self, f"_{kind}", None) or self._json
        if kind in ("names", "name", "member"):
            given = draw(spec, value, key, family)
        elif kind in ("condition", "association", "morphs", "model", "list"):
            return draw(spec, value, key, problems)
        else:
            given = draw(spec, value, key)
        for problem in problems:
            st.markdown(f":red[{md(problem.words)}]")
        return given

    # one method a type; the name is the type's

    def _text(self, spec: Spec, value: Any, key: str) -> str | None:
        example = next(iter(spec.get("examples") or ()), None)
        given = st.text_input(
            _label(spec),
            "" if value is None else str(value),
            key=key,
            help=_help(spec),
            placeholder=f"{example}" if example is not None and not value else None,
        )
        return given if given or (spec.get("default") not in (None, "") and not spec.get("optional")) else None

    def _secret(self, spec: Spec, value: Any, key: str) -> Any:
        words = "Kept as it is when left blank." if value else "The secret itself, or where it is: env:NAME, file:PATH."
        given = st.text_input(
            _label(spec),
            "",
            type="password",
            key=key,
            help=f"{_help(spec) or ''} {words}".strip(),
            placeholder=_where(value),
            autocomplete="new-password",
        )
        return self._kept(given, key) if given else value or None

    def _kept(self, given: str, key: str) -> str:
        """A reference as it is; a secret goes to the API, which keeps it encrypted, and its reference into the item."""
        if given.startswith(REFERENCES):
            return given
        known = st.session_state.get(f"{key}-kept")
        if known is None or known[0] != given:
            st.session_state[f"{key}-kept"] = known = (given, self.client.store_secret(given))
        return str(known[1])

    def _integer(self, spec: Spec, value: Any, key: str) -> int | None:
        given = self._amount(spec, value, key, whole=True)
        return None if given is None else int(given)

    def _number(self, spec: Spec, value: Any, key: str) -> float | None:
        return self._amount(spec, value, key, whole=False)

    def _amount(self, spec: Spec, value: Any, key: str, *, whole: bool) -> float | None:
        kind = int if whole else float
        low = spec.get("minimum") if spec.get("minimum") is not None else spec.get("above")
        high = spec.get("maximum") if spec.get("maximum") is not None else spec.get("below")
        if value is not None and ((low is not None and value < low) or (high is not None and value > high)):
            low = high = None  # what stands there must be seen, also when it is out of bounds
        return st.number_input(
            _label(spec),
            min_value=None if low is None else kind(low),
            max_value=None if high is None else kind(high),
            value=None if value is None else kind(value),
            step=kind(1),
            format="%d" if whole else "%g",
            key=key,
            help=_help(spec),
        )

    def _switch(self, spec: Spec, value: Any, key: str) -> bool | None:
        if spec.get("optional"):
            words = {None: "as set for all", True: "yes", False: "no"}
            options = list(words)
            index = options.index(value)
            return st.selectbox(
                _label(spec), options, index=index, format_func=words.__getitem__, key=key, help=_help(spec)
            )
        return st.toggle(_label(spec), bool(value), key=key, help=_help(spec))

    def _choice(self, spec: Spec, value: Any, key: str) -> Any:
        options = list(spec["choices"])
        if len(options) <= 4 and not spec.get("optional"):
            chosen = value if value in options else None
            return st.segmented_control(
                _label(spec),
                options,
                default=chosen,
                required=chosen is not None,
                format_func=_word,
                key=key,
                help=_help(spec),
            )
        index = options.index(value) if value in options else None
        return st.selectbox(_label(spec), options, index=index, format_func=_word, key=key, help=_help(spec))

    def _tags(self, spec: Spec, value: Any, key: str) -> list[str]:
        chosen = [str(v) for v in value or ()]
        examples = next(iter(spec.get("examples") or ()), None)
        hint = ", ".join(map(str, examples)) if isinstance(examples, list) else ""
        return st.multiselect(
            _label(spec),
            chosen,
            default=chosen,
            accept_new_options=True,
            key=key,
            help=_help(spec),
            placeholder=f"Type, then Enter{f' ({hint})' if hint else ''}",
        )

    def _tag(self, spec: Spec, value: Any, key: str) -> str | None:
        return tag_input(self.client, _label(spec), str(value or ""), key, help=_help(spec) or "", visible=True) or None

    def _names(self, spec: Spec, value: Any, key: str, family: str) -> list[str]:
        chosen = list(value or ())
        options = [item["name"] for item in self.client.items(family)]
        options += [name for name in chosen if name not in options]
        empty = "All of them" if family == "sources" else "Choose…"
        return st.multiselect(_label(spec), options, default=chosen, key=key, help=_help(spec), placeholder=empty)

    def _name(self, spec: Spec, value: Any, key: str, family: str) -> str | None:
        options = [item["name"] for item in self.client.items(family)]
        options += [value] if value and value not in options else []
        index = options.index(value) if value else None
        words = "Always" if family == "schedules" else "Choose…"
        return st.selectbox(_label(spec), options, index=index, key=key, help=_help(spec), placeholder=words)

    def _member(self, spec: Spec, value: Any, key: str, family: str) -> dict[str, Any] | None:
        kinds = self.client.families().get(f"{family}s", {}).get("kinds", {})
        held = dict(value or {})
        names = list(kinds)
        index = names.index(held.get("kind")) if held.get("kind") in names else None
        kind = st.selectbox(_label(spec), names, index=index, key=f"{key}.kind", help=_help(spec))
        return {"kind": kind, **self.ask(kinds[kind]["fields"], held, f"{key}.{kind}")} if kind else None

    def _list(self, spec: Spec, value: Any, key: str, problems: Sequence[Problem]) -> list[Any] | None:
        item = spec.get("item") or {"type": "text"}
        if item["type"] == "model":
            return self._models(spec, list(value or ()), key, problems)
        for problem in problems:
            st.markdown(f":red[{md(problem.words)}]")
        if item["type"] == "choice":
            return st.pills(
                _label(spec), item["choices"], selection_mode="multi", default=value or [], key=key, help=_help(spec)
            )
        if item["type"] == "json":
            return self._json(spec, value, key)
        chosen = [str(v) for v in value or ()]
        options = [*chosen, *(k for k in USUAL if k not in chosen)] if item["type"] == "tag" else chosen
        given = st.multiselect(
            _label(spec),
            options,
            default=chosen,
            accept_new_options=True,
            key=key,
            help=_help(spec),
            placeholder="Type, then Enter",
        )
        return [_number(v) for v in given] if item["type"] in ("integer", "number") else given

    def _models(self, spec: Spec, value: list[Any], key: str, problems: Sequence[Problem]) -> list[Any]:
        """A list of small forms, each of which can be taken away."""
        st.markdown(f"**{md(spec['label'])}**", help=_help(spec))
        held: list[int] = st.session_state.setdefault(f"{key}-ids", list(range(len(value))))
        out = []
        for place, i in enumerate(list(held)):
            mine = [Problem(p.loc[1:], p.words) for p in problems if p.loc and p.loc[0] == place]
            with st.container(border=True):
                out.append(self.ask(spec["item"]["fields"], value[i] if i < len(value) else {}, f"{key}.{i}", mine))
                st.button(
                    "Take away",
                    key=f"{key}.{i}-gone",
                    type="tertiary",
                    icon=":material/close:",
                    on_click=held.remove,
                    args=(i,),
                )
        new = max(held, default=len(value) - 1) + 1
        st.button("Add", key=f"{key}-add", icon=":material/add:", on_click=held.append, args=(new,))
        for problem in (p for p in problems if not p.loc or not isinstance(p.loc[0], int)):
            st.markdown(f":red[{md(problem.words)}]")
        return out

    def _mapping(self, spec: Spec, value: Any, key: str) -> dict[str, Any]:
        st.markdown(md(spec["label"]), help=_help(spec))
        rows = [{"Name": k, "Value": str(v)} for k, v in (value or {}).items()] or [{"Name": "", "Value": ""}]
        given = st.data_editor(rows, num_rows="dynamic", key=key, hide_index=True, width="stretch")
        return {r["Name"]: r.get("Value") or "" for r in given if r.get("Name")}

    def _model(self, spec: Spec, value: Any, key: str, problems: Sequence[Problem]) -> dict[str, Any] | None:
        """A group of its own: closed while nothing in it was ever set, so that a form is as long as what it says."""
        held = dict(value or {})
        touched = any(held.get(f["name"], f.get("default")) != f.get("default") for f in spec["fields"])
        needed = any(f.get("required") for f in spec["fields"])
        with st.expander(md(spec["label"]), expanded=touched or needed or bool(problems)):
            if spec.get("help"):
                st.caption(md(spec["help"]))
            given = Form(self.client, later=()).ask(spec["fields"], held, key, problems)
        return given or None

    def _condition(self, spec: Spec, value: Any, key: str, problems: Sequence[Problem]) -> Any:
        st.markdown("**Which images**", help=_help(spec))
        return edit_condition(self.client, value, key, problems)

    def _association(self, spec: Spec, value: Any, key: str, problems: Sequence[Problem]) -> Any:
        st.markdown("**From which sender**", help=_help(spec))
        return edit_condition(self.client, value, key, problems, association=True)

    def _morphs(self, spec: Spec, value: Any, key: str, problems: Sequence[Problem]) -> list[dict[str, Any]]:
        st.markdown("**What is changed**", help=_help(spec))
        return edit_morphs(self, value or [], key, problems)

    def _json(self, spec: Spec, value: Any, key: str) -> Any:
        text = "" if value in (None, "") else json.dumps(value, indent=2)
        given = st.text_area(f"{_label(spec)} (JSON)", text, key=key, help=_help(spec))
        try:
            return json.loads(given) if given.strip() else None
        except json.JSONDecodeError as e:
            st.markdown(f":red[This is not JSON: {md(e)}]")
            return value


def _where(value: Any) -> str | None:
    """What may be shown of a secret that is set: where it is."""
    text = str(value or "")
    return (text if text.startswith(("env:", "file:", "gcp-sm:")) else MARK) if text else None


def _label(spec: Spec) -> str:
    return (
        f"{spec['label']} *"
        if spec.get("required") and spec["type"] in ("text", "secret", "tag", "name", "integer")
        else spec["label"]
    )


def _help(spec: Spec) -> str | None:
    return md(spec["help"]) if spec.get("help") else None


def _word(choice: Any) -> str:
    return str(choice).replace("_", " ").lower() if str(choice).isupper() else str(choice).replace("_", " ")


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text
