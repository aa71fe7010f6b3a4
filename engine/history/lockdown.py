"""What a person's SQL may be: one SELECT over the views. The parse tree is checked by a list of what is allowed.

This is the first fence; `reader.py` gives the second: external access is off but for the history folder, and the
configuration is locked. Both are needed: the folder's files themselves may only be read through the views, which mask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from engine.errors import Invalid, Problem
from engine.history.columns import VIEWS
from engine.history.functions import FUNCTIONS

if TYPE_CHECKING:
    import duckdb

__all__ = ["TOO_MUCH", "check_sql", "sql_problem", "took_too_long"]

_QUERY_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_TABLE_REFS = {"BASE_TABLE", "JOIN", "SUBQUERY", "TABLE_FUNCTION", "EMPTY", "EMPTY_FROM", "EXPRESSION_LIST", "SHOW_REF",
               "PIVOT"}  # fmt: skip
_TABLE_FUNCTIONS = {"unnest", "range", "generate_series"}
_CATALOG = {("information_schema", "columns"), ("information_schema", "tables")}
_SHOWN = {"", '"tables"'}
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r"[^\w\s]{1,5}")
_SYSTEM = ("duckdb_", "pg_", "pragma_", "sqlite_", "information_schema")


def check_sql(connection: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    """The views that the SQL reads. Nothing is run.

    Raises Invalid, beside `sql`, with a sentence on what may not be, unless it is one SELECT over the views.
    """
    [text] = connection.execute("SELECT json_serialize_sql($1::VARCHAR)", [sql]).fetchall()[0]
    tree = orjson.loads(text)
    if tree["error"]:
        if tree.get("error_type") == "parser":
            raise sql_problem(tree["error_message"])
        raise sql_problem("Only a SELECT may be asked here: nothing can be changed, loaded, set, attached or copied.")
    statements = tree["statements"]
    if len(statements) != 1:
        raise sql_problem(f"Ask one SELECT at a time; there are {len(statements)} statements.")
    nodes = list(_nodes(statements[0]))
    names = {entry["key"].lower() for node in nodes for entry in (node.get("cte_map") or {}).get("map", ())}
    for name in names:
        if not _PLAIN.fullmatch(name) or name.startswith(_SYSTEM):
            raise sql_problem(f"{name!r} cannot be the name of a WITH query: use letters, digits and _.")
    for node in nodes:
        _check_node(node, names)
    return {str(node["table_name"]).lower() for node in nodes if node.get("type") == "BASE_TABLE"} & VIEWS.keys()


TOO_MUCH = "The query needs more memory than it may have: ask for less, by day or for fewer columns."


def took_too_long(seconds: float) -> Invalid:
    """What becomes of a question that is not answered in its time."""
    return sql_problem(f"The query took longer than {seconds:g} seconds and was stopped: ask for less, say by day.")


def sql_problem(words: str) -> Invalid:
    """An error of the asker's SQL, in words, with what to do about the traps of the dialect."""
    words = words.strip()
    if "syntax error at or near" in words:
        words += '. (Columns whose name is a word of SQL stand in double quotes: "at", "before", "after".)'
    return Invalid([Problem(("sql",), words)])


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    stack = [tree]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            yield one
            stack.extend(one.values())
        elif isinstance(one, list):
            stack.extend(one)


def _check_node(node: dict[str, Any], ctes: set[str]) -> None:
    kind = node.get("type")
    if "function_name" in node:
        name = str(node["function_name"]).lower()
        if name not in FUNCTIONS and not _OPERATOR.fullmatch(name):
            raise sql_problem(f"The function {name} may not be used here, or there is none of that name.")
    if "class" in node or not isinstance(kind, str):
        return
    if "cte_map" in node or kind.endswith("_NODE"):
        if kind not in _QUERY_NODES:
            raise sql_problem("Only a SELECT may be asked here: nothing can be changed, also not inside WITH.")
    elif "sample" in node:
        if kind not in _TABLE_REFS:
            raise sql_problem(f"This kind of FROM ({kind.lower()}) may not be used here.")
        _check_table(node, kind, ctes)


def _check_table(node: dict[str, Any], kind: str, ctes: set[str]) -> None:
    if kind == "TABLE_FUNCTION":
        name = str(node["function"].get("function_name", "")).lower()
        if name not in _TABLE_FUNCTIONS:
            raise sql_problem(f"The table function {name} may not be used here, only the views: {_views()}.")
    elif kind == "SHOW_REF":
        if str(node.get("table_name", "")).lower() not in _SHOWN:
            raise sql_problem("Only SHOW TABLES, DESCRIBE and SUMMARIZE of the views may be asked here.")
    elif kind == "BASE_TABLE":
        name, schema = str(node["table_name"]).lower(), str(node.get("schema_name") or "").lower()
        if node.get("catalog_name"):
            raise sql_problem(f"There is one catalog here; write only the view's name ({_views()}).")
        if (schema, name) in _CATALOG or (not schema and (name in VIEWS or name in ctes)):
            return
        raise sql_problem(f"There is no view called {node['table_name']!r} here; there are {_views()}.")


def _views() -> str:
    return ", ".join(VIEWS)
