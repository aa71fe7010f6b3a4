"""The fake API's routes for what flows: status, boxes, deliveries, instances, history, trial."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from fastapi import FastAPI, Request, Response, UploadFile

from tests.workbench import fake_site

if TYPE_CHECKING:
    from tests.workbench.fake_api import FakeApi

__all__ = ["Told", "add_work_routes"]


class Told(Exception):
    def __init__(self, status: int, detail: str, problems: list[dict[str, Any]] | None = None) -> None:
        self.status, self.detail, self.problems = status, detail, problems or []


def add_work_routes(app: FastAPI, state: FakeApi) -> None:
    def listing(items: list[dict[str, Any]], ids: list[str]) -> list[dict[str, Any]]:
        return [one for one in items if one["id"] not in ids]

    @app.get("/api/v1/status")
    def status() -> dict[str, Any]:
        return fake_site.status(state)

    @app.get("/api/v1/flow")
    def flow(minutes: int = 60) -> dict[str, Any]:
        return fake_site.flow(state)

    @app.get("/api/v1/held")
    def held() -> list[dict[str, Any]]:
        return state.held

    @app.post("/api/v1/held/{action}")
    def held_action(action: str, body: dict[str, Any]) -> dict[str, Any]:
        state.did.append((f"held/{action}", *body["ids"], body.get("reason", "")))
        state.held = listing(state.held, body["ids"])
        return {"done": body["ids"], "failed": []}

    @app.get("/api/v1/unmatched")
    def unmatched() -> list[dict[str, Any]]:
        return state.unmatched

    @app.post("/api/v1/unmatched/replay")
    def replay(body: dict[str, Any]) -> dict[str, Any]:
        state.did.append(("unmatched/replay", *body["ids"]))
        state.unmatched = listing(state.unmatched, body["ids"])
        return {"done": body["ids"], "failed": []}

    @app.get("/api/v1/deliveries")
    def deliveries(state_: str = "", destination: str = "", limit: int = 100, request: Request = None) -> Any:  # type: ignore[assignment]
        wanted = request.query_params.get("state", "")
        found = [d for d in state.deliveries if not wanted or d["state"] == wanted]
        return [d for d in found if not destination or d["destination"] == destination][:limit]

    @app.get("/api/v1/gatherings")
    def gatherings(request: Request) -> Any:
        return state.gatherings

    @app.post("/api/v1/gatherings/send-now")
    def send_now(body: dict[str, Any], request: Request) -> Any:
        state.did.append(("gatherings/send-now", *body["ids"]))
        state.gatherings = listing(state.gatherings, body["ids"])
        return {"done": body["ids"], "failed": []}

    @app.post("/api/v1/deliveries/{action}")
    def delivery_action(action: str, body: dict[str, Any]) -> dict[str, Any]:
        state.did.append((f"deliveries/{action}", *body["ids"], body.get("reason", "")))
        state.deliveries = listing(state.deliveries, body["ids"])
        return {"done": body["ids"], "failed": []}

    @app.get("/api/v1/instances")
    def instances(q: str = "", limit: int = 50) -> list[dict[str, Any]]:
        if state.is_empty:
            return []
        return [i for i in fake_site.instances() if q.lower() in str(i).lower()][:limit]

    @app.get("/api/v1/instances/{uid}")
    def instance(uid: str) -> dict[str, Any]:
        if uid not in [i["sop_instance_uid"] for i in fake_site.instances()]:
            raise Told(404, "No image with this UID was received.")
        return fake_site.story(uid)

    @app.post("/api/v1/history/query")
    def query(body: dict[str, Any]) -> Response:
        import duckdb

        con = duckdb.connect()
        con.register("rows", fake_site.history(0 if state.is_empty else 400))
        con.sql("create view instances as select * from rows")
        try:
            found = con.sql(body["sql"]).limit(body["limit"]).to_arrow_table()
        except duckdb.Error as e:
            raise Told(422, str(e).splitlines()[0]) from e
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, found.schema) as writer:
            writer.write_table(found)
        return Response(sink.getvalue(), media_type="application/vnd.apache.arrow.stream")

    @app.post("/api/v1/rules/test")
    async def test(file: UploadFile, request: Request) -> dict[str, Any]:
        form = await request.form()
        if b"DICM" not in (await file.read())[:132]:
            raise Told(422, "This is not a DICOM file: it has no DICM at byte 128.")
        state.did.append(("rules/test", "configuration" in form))
        return {"decisions": fake_site.decisions()}

    @app.get("/api/v1/tags")
    def tags(q: str, limit: int = 20) -> list[dict[str, str]]:
        return [t for t in fake_site.TAGS if q.lower() in str(t).lower()][:limit]
