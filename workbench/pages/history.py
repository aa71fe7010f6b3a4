"""History: what happened, asked in SQL (DuckDB) or by one of the ready questions, as a table and a chart."""

from __future__ import annotations

import io
from typing import Any

import altair as alt
import polars as pl
import streamlit as st

from workbench import parts, signin
from workbench.client import Refused

QUESTIONS = {
    "Images per modality": "select modality, count(*) as images\nfrom instances\ngroup by modality\norder by images desc",
    "Images per hour and source": (
        "select date_trunc('hour', received_at) as hour, source, count(*) as images\n"
        "from instances\ngroup by all\norder by hour"
    ),
    "Who sends most": (
        "select calling_ae, count(*) as images, round(sum(bytes) / 1e6, 1) as megabytes\n"
        "from instances\ngroup by calling_ae\norder by images desc\nlimit 20"
    ),
    "Why rules did not match": (
        "select ruleset, rule, reasons[1] as reason, count(*) as images\n"
        "from decisions\nwhere not matched\ngroup by all\norder by images desc\nlimit 50"
    ),
    "What peers said": (
        "select destination, outcome, code, words, count(*) as images\n"
        "from deliveries\ngroup by all\norder by images desc\nlimit 50"
    ),
    "Tags that were changed": (
        "select path, morph, count(*) as images\nfrom changes\nwhere state = 'live'\ngroup by all\norder by images desc\nlimit 50"
    ),
    "Who changed the configuration": 'select "at", who, action, family, name, detail\nfrom audit\norder by "at" desc\nlimit 100',
}  # fmt: skip


NONE = "(none)"
"""What a chart calls rows without a word, where Vega says `null`."""


def chart(frame: pl.DataFrame) -> alt.Chart | None:
    """The plainest chart that fits: over time where there is a time, else bars. None where neither fits."""
    times = [c for c, t in frame.schema.items() if t.is_temporal()]
    numbers = [c for c, t in frame.schema.items() if t.is_numeric()]
    words = [c for c, t in frame.schema.items() if t == pl.String]
    if not numbers or not 1 < frame.height <= 2000:
        return None
    base = alt.Chart(alt.Data(values=frame.select(_plain(c, t) for c, t in frame.schema.items()).to_dicts()))
    tips = [alt.Tooltip(f"{_field(c)}:N", title=c) for c in frame.columns[:6]]
    if times:
        shape = base.mark_line(point=True, interpolate="monotone") if frame.height < 200 else base.mark_line()
        colour = (
            {"color": alt.Color(f"{_field(words[0])}:N", title=None, legend=alt.Legend(orient="top"))} if words else {}
        )
        return shape.encode(
            x=alt.X(f"{_field(times[0])}:T", title=None, axis=alt.Axis(grid=False)),
            y=alt.Y(f"{_field(numbers[0])}:Q", title=numbers[0]),
            tooltip=tips,
            **colour,
        ).properties(height=300)
    if words and frame.height <= 60:
        return (
            base.mark_bar(cornerRadiusEnd=3, height={"band": 0.7})
            .encode(
                y=alt.Y(f"{_field(words[0])}:N", title=None, sort="-x", axis=alt.Axis(labelLimit=260)),
                x=alt.X(f"{_field(numbers[0])}:Q", title=numbers[0]),
                tooltip=tips,
            )
            .properties(height=alt.Step(30))
        )
    return None


def _plain(name: str, kind: Any) -> pl.Expr:
    column = pl.col(name)
    if kind.is_temporal():
        return column.cast(pl.String)
    if kind == pl.String:
        return pl.when(column.is_null() | (column == "")).then(pl.lit(NONE)).otherwise(column).alias(name)
    return column if kind.is_numeric() else column.cast(pl.String, strict=False)


def _field(name: str) -> str:
    """A column's name for Altair, where dots, brackets and colons mean something else."""
    return "".join(f"\\{c}" if c in ".[]:\\" else c for c in name)


def page() -> None:
    parts.title(
        "History",
        "Views: instances, decisions, changes, deliveries, queries, audit. Each row has its time, at, and its node.",
    )
    question = st.selectbox("A ready question", list(QUESTIONS), key="question")
    sql = st.text_area("SQL", QUESTIONS[question], height=190, key=f"sql-{question}")
    left, right = st.columns([5, 1])
    left.button("Ask", type="primary", icon=":material/play_arrow:")
    if not sql.strip():
        return
    try:
        with st.spinner("Asking…", show_time=True):
            frame = pl.read_ipc_stream(io.BytesIO(signin.client().query(sql, 10_000)))
    except Refused as e:
        st.error(parts.md(str(e)))
        return
    if not frame.height:
        parts.empty("No row fits", "The question is fine; nothing in the history answers it yet.")
        return
    if (drawn := chart(frame)) is not None:
        st.altair_chart(drawn, width="stretch")
    right.download_button(
        "CSV", data=frame_csv(frame), file_name="history.csv", mime="text/csv", on_click="ignore", width="stretch"
    )
    st.dataframe(frame, width="stretch", hide_index=True)
    st.caption(
        parts.plural(frame.height, "row") + (": only the first 10,000 are shown." if frame.height == 10_000 else ".")
    )


def frame_csv(frame: pl.DataFrame) -> str:
    nested = [c for c, t in frame.schema.items() if t.is_nested()]
    return frame.with_columns(pl.col(c).map_elements(str, return_dtype=pl.String) for c in nested).write_csv()


page()
