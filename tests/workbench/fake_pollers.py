"""The pollers' routes of the fake API."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request

__all__ = ["poller_routes"]


def poller_routes(app: FastAPI, state: Any) -> None:
    @app.get("/api/v1/pollers/{name}/troubles")
    def troubles(name: str) -> Any:
        return state.troubles

    @app.post("/api/v1/pollers/{name}/retry", status_code=202)
    async def retry_polled(name: str, request: Request) -> Any:
        state.did.append(("retry", name, await request.json()))
        return {"name": name, "again": len(state.troubles)}

    @app.get("/api/v1/backfills")
    def backfills() -> Any:
        return state.backfills

    @app.post("/api/v1/backfills", status_code=201)
    async def create_backfill(request: Request) -> Any:
        state.did.append(("backfill", await request.json()))
        return {}

    @app.post("/api/v1/backfills/{backfill}/{action}")
    def change_backfill(backfill: str, action: str) -> Any:
        state.did.append((action, backfill))
        return {}
