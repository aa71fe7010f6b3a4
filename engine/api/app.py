"""The API as an application, and the process that serves it."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.middleware.cors import CORSMiddleware

from engine import __version__
from engine.api.access import check_table
from engine.api.middleware import Bounds, Hygiene, Rates
from engine.api.openapi import build_openapi
from engine.api.parts import Parts
from engine.api.problems import handle_errors
from engine.api.routes import (
    browser,
    configuration,
    crosswalk,
    dicomweb,
    engine_state,
    environment,
    families,
    health,
    history,
    monitoring,
    pages,
    people,
    planning,
    polling,
    schedules,
    secrets,
    signing_in,
)
from engine.component import import_site_kinds
from engine.connection.tls import TlsServer
from engine.errors import AxiomError
from engine.settings import Settings

__all__ = ["create_app", "serve", "server_config"]

LARGEST_BODY = 8 << 20
GRACE_SECONDS = 10

_log = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """The application. Its store is opened when it starts, or at the first request."""
    import_site_kinds(filter(None, settings.components.split(",")))
    parts = Parts(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        parts.open()
        yield
        parts.close()

    app = FastAPI(
        title="Axiom Flow", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.parts = parts
    for part in (
        health, pages, monitoring, signing_in, configuration, engine_state, crosswalk, polling, history, browser, dicomweb,
        people, secrets, environment, planning, schedules, families,
    ):  # fmt: skip
        app.router.routes.extend(part.router.routes)  # flat, so that a walk over the routes sees each of them
    handle_errors(app)
    app.add_middleware(
        Bounds, largest=LARGEST_BODY, larger={"/api/v1/rules/test": history.LARGEST_FILE + (8 << 20)},
        streamed=dicomweb.STREAMED,
    )  # fmt: skip
    if settings.requests_per_minute:
        app.add_middleware(Rates, each_minute=settings.requests_per_minute)
    if settings.cors_origins:
        origins = [o.strip() for o in settings.cors_origins.split(",")]
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"],
            expose_headers=["ETag", "X-Request-ID", "X-Truncated"],
        )  # fmt: skip
    app.add_middleware(Hygiene)
    check_table(app)
    app.openapi = lambda: build_openapi(app)  # type: ignore[method-assign]
    return app


def serve(settings: Settings) -> None:
    """Serve the API until SIGTERM or SIGINT. Raises AxiomError when the port cannot be had or the store not be opened."""
    app = create_app(settings)
    app.state.parts.open()
    listening = _listen(settings.host, settings.api_port)
    _log.info("the API listens on %s port %d", settings.host, listening.getsockname()[1])
    server = uvicorn.Server(server_config(app, settings))
    # uvicorn raises the signal that ended it once more, with the handlers that it found: being asked to end is no failure
    def end(*_: object) -> None:
        server.should_exit = True
        app.state.parts.events.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    server.run(sockets=[listening])


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How it is served: bounded headers, no access log of the server's own (addresses may name patients)."""
    tls = _tls(settings)
    return uvicorn.Config(
        app, ssl_context_factory=(lambda _config, _default: tls.following_context()) if tls else None,
        port=settings.api_port, log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS, proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        http="h11", h11_max_incomplete_event_size=64 * 1024,  # the other parser does not bound headers
    )  # fmt: skip


def _tls(settings: Settings) -> TlsServer | None:
    """Raises AxiomError in words when the certificate cannot be used."""
    if not settings.tls_certificate:
        return None
    try:
        tls = TlsServer(certificate=settings.tls_certificate, private_key=settings.tls_key or None)
    except ValidationError as e:
        raise AxiomError(f"AXIOM_TLS_CERTIFICATE or AXIOM_TLS_KEY: {e.errors()[0]['msg'].partition(', ')[2]}") from e
    tls.context()
    return tls


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as e:
        listening.close()
        raise AxiomError(
            f"The API cannot listen on {host} port {port}: {e.strerror}. Stop what uses it, or set AXIOM_API_PORT."
        ) from e
    listening.listen(256)
    return listening
