"""A fake API on a free port, and pages opened as a signed-in person under Streamlit's AppTest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.workbench.fake_api import FakeApi, serve
from workbench.client import Client

ROOT = Path(__file__).resolve().parents[2]
Open = Callable[..., AppTest]


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def api_url(api: FakeApi) -> Iterator[str]:
    with serve(api) as url:
        yield url


@pytest.fixture
def client(api_url: str) -> Client:
    found = Client(api_url)
    found.login("ada", "correct horse")
    return found


@pytest.fixture
def app(api_url: str, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The workbench before sign-in."""
    monkeypatch.setenv("AXIOM_API_URL", api_url)
    monkeypatch.chdir(ROOT)
    return AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=120)


@pytest.fixture
def open_page(app: AppTest, client: Client) -> Open:
    """`open_page("rules", show="main/ct-to-pacs")`: that page, signed in, drawn once. No page may end in an exception."""

    def open_(name: str, **query: str) -> AppTest:
        app.session_state["client"] = client
        for key, value in query.items():
            app.query_params[key] = value
        app.switch_page(f"workbench/pages/{name}.py").run()
        assert not app.exception, app.exception
        return app

    return open_


def chromium() -> str | None:
    """The browser for walks: `AXIOM_CHROMIUM`, or where distributions put it."""
    places = (os.environ.get("AXIOM_CHROMIUM", ""), "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
    return next((p for p in places if p and Path(p).is_file()), None)
