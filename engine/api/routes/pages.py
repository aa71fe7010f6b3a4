"""The API's documentation as pages: Swagger UI and ReDoc, served by us alone, so that they work without the internet."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Literal

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from engine.api.access import GuardedRoute

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", route_class=GuardedRoute, include_in_schema=False)

BUNDLES = "fastapi_offline"  # a package that carries both bundles; nothing else of it is used
FOREIGN = b"https://cdn.redoc.ly/redoc/logo-mini.svg"  # ReDoc's footer would fetch it
FILES = {
    "swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "redoc.standalone.js": "text/javascript",
}  # fmt: skip
OWN = {
    "docs.js": (
        "text/javascript",
        'SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true, persistAuthorization: false, '
        'validatorUrl: null, docExpansion: "none", filter: true, presets: [SwaggerUIBundle.presets.apis]});',
    ),
    "redoc.js": (
        "text/javascript",
        'Redoc.init("openapi.json", {disableSearch: false, hideLoading: true, expandResponses: "200,201", '
        'theme: {typography: {fontFamily: "system-ui, sans-serif", headings: {fontFamily: "system-ui, sans-serif"}}}}, '
        'document.getElementById("page"));',
    ),
    "icon.svg": (
        "image/svg+xml",
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0b5fa5"/>'
        '<path d="M6 22 L14 10 L18 16 L26 10" stroke="#fff" stroke-width="3" fill="none"/></svg>',
    ),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self' data:; worker-src blob:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'"
)
Asset = Literal["swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js", "docs.js", "redoc.js", "icon.svg"]


def _page(title: str, head: str, *scripts: str) -> Response:
    tags = "".join(f'<script src="assets/{script}"></script>' for script in scripts)
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="assets/icon.svg">{head}</head><body><div id="page"></div>{tags}</body></html>',
        headers={"Content-Security-Policy": POLICY},
    )


@router.get("/docs")
def docs() -> Response:
    css = '<link rel="stylesheet" href="assets/swagger-ui.css">'
    return _page("Axiom Flow API", css, "swagger-ui-bundle.js", "docs.js")


@router.get("/redoc")
def redoc() -> Response:
    return _page("Axiom Flow API reference", "", "redoc.standalone.js", "redoc.js")


@router.get("/assets/{name}")
def asset(name: Asset) -> Response:
    media, content = OWN[name] if name in OWN else (FILES[name], _bundle(name))
    return Response(content, media_type=media, headers={"Cache-Control": "public, max-age=3600"})


@cache
def _bundle(name: str) -> bytes:
    return files(BUNDLES).joinpath("static", name).read_bytes().replace(FOREIGN, b"assets/icon.svg")


@router.get("/openapi.json")
def openapi(request: Request) -> Response:
    document: dict[str, Any] = request.app.openapi()
    return JSONResponse(document, media_type="application/json")
