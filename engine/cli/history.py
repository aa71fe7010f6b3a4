"""`axiom history`: SQL over what happened."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.cli.show import AsJson, emit, example, note, operations, table

__all__ = ["add"]


def add(app: typer.Typer) -> None:
    app.command(epilog=example('axiom history "select source, count(*) as n from instances group by source"'))(history)


def history(
    sql: Annotated[str, typer.Argument(help="A SELECT over instances, decisions, changes, deliveries, queries, audit.")],
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows.")] = 1000,
    timeout: Annotated[float, typer.Option(min=0.1, help="Give up after so many seconds.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Ask the history in SQL (DuckDB's), while the engine goes on writing it."""
    from engine.history.reader import is_truncated

    answer = operations().query(sql, limit=limit, timeout=timeout)
    rows = answer.to_pylist()
    if as_json:
        emit(rows)
    else:
        table(rows, answer.column_names, "No rows.")
    if is_truncated(answer):
        note(f"There are more: only the first {limit} rows are shown (--limit).")
