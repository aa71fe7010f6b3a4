"""Axiom Flow from a notebook: `workbench.connect()`, then history as Polars frames, and what is configured.

from workbench import connect
axiom = connect()                                  # AXIOM_API_URL, and AXIOM_API_KEY or AXIOM_USERNAME + AXIOM_PASSWORD
axiom.history("select modality, count(*) as n from instances group by all")
axiom.rules
"""

from __future__ import annotations

import getpass
import io
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.client import Client

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Table", "Workbench", "connect", "offline_charts"]


def connect(url: str | None = None, *, username: str = "", password: str = "", key: str = "") -> Workbench:
    """Sign in and hand back the workbench. What is not given comes from the environment; a password that is in neither
    is asked for. Raises ApiError with a sentence when the API is away or says no.
    """
    port = os.environ.get("AXIOM_API_PORT", "8001")
    url = url or os.environ.get("AXIOM_API_URL") or f"http://127.0.0.1:{port}"
    key = key or ("" if username else os.environ.get("AXIOM_API_KEY", ""))
    client = Client(url, key)
    if not key:
        username = username or os.environ.get("AXIOM_USERNAME", "") or input("Username: ")
        password = password or os.environ.get("AXIOM_PASSWORD", "") or getpass.getpass(f"Password of {username}: ")
        client.login(username, password)
    return Workbench(client)


def offline_charts() -> None:
    """Have Altair's charts drawn by Jupyter itself. Altair's own way fetches its JavaScript from a public host, which a
    hospital's network does not reach; its newer media type (`v6.json`) is refused by nbformat 5.
    """
    import altair as alt

    def render(spec: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {"application/vnd.vegalite.v5+json": spec, "text/plain": "a chart, drawn by JupyterLab"}

    alt.renderers.register("offline", render)
    alt.renderers.enable("offline")


class Table(list[dict[str, Any]]):
    """A list of plain objects that shows itself as a table; `frame` makes it Polars."""

    def __init__(self, items: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
        super().__init__(items)
        self.columns = tuple(columns)

    def __getitem__(self, key: Any) -> Any:
        """By place, or by name: `axiom.sources["modalities"]`."""
        if isinstance(key, str):
            for item in self:
                if item.get("name") == key:
                    return item
            raise KeyError(f"There is nothing called {key}; there are {', '.join(str(i.get('name')) for i in self)}.")
        return super().__getitem__(key)

    @property
    def frame(self) -> pl.DataFrame:
        import polars as pl

        return pl.DataFrame([{c: _plain(item.get(c)) for c in self.columns} for item in self], strict=False)

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='text-align:left'>{escape(c.replace('_', ' '))}</th>" for c in self.columns)
        cells = (
            "".join(f"<td style='text-align:left'>{escape(_plain(i.get(c)))}</td>" for c in self.columns) for i in self
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(f'<tr>{c}</tr>' for c in cells)}</tbody></table>"


class Workbench:
    """What a signed-in person can see and try, as data. The API decides what that is."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def __repr__(self) -> str:
        who = self.client.user.get("username", "API key")
        return f"<Axiom Flow at {self.client.url}, as {who}>"

    def history(self, sql: str, limit: int = 100_000) -> pl.DataFrame:
        """Run SQL (DuckDB) over the views `instances decisions changes deliveries queries audit`."""
        import polars as pl

        return pl.read_ipc_stream(io.BytesIO(self.client.query(sql, limit)))

    @property
    def sources(self) -> Table:
        return Table(self.client.items("sources"), ("name", "kind", "enabled", "ae_title", "port", "description"))

    @property
    def destinations(self) -> Table:
        return Table(
            self.client.items("destinations"), ("name", "kind", "enabled", "host", "port", "path", "description")
        )

    @property
    def schedules(self) -> Table:
        return Table(self.client.items("schedules"), ("name", "time_zone", "ranges"))

    @property
    def rules(self) -> Table:
        """Every rule of every ruleset, in the order in which they are asked."""
        rulesets = sorted(self.client.items("rulesets"), key=lambda r: r.get("priority", 0))
        found = [
            {"ruleset": ruleset["name"], **rule}
            for ruleset in rulesets
            for rule in sorted(ruleset.get("rules", []), key=lambda r: r.get("priority", 0))
        ]
        return Table(found, ("ruleset", "name", "state", "sources", "when", "morphs", "destinations"))

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.client.get("/status"))

    def test_rule(
        self, file: str | Path, *, source: str = "", calling_ae: str = "", called_ae: str = "", source_ip: str = ""
    ) -> Table:
        """What every rule would say of a DICOM file, and why. Nothing is kept, changed or sent."""
        told = {"source": source, "calling_ae": calling_ae, "called_ae": called_ae, "source_ip": source_ip}
        found = self.client.test_rules(Path(file).read_bytes(), told)
        return Table(found, ("ruleset", "rule", "state", "matched", "reasons", "changes", "destinations"))


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(v) for v in value)
    return str(value)
