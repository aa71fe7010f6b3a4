"""Signing in with Google in a real browser: the button, a local issuer, the API, and the page that one comes back to."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine.process import Child
from engine.security import passwords
from engine.settings import Settings
from tests.api.issuer import CLIENT_ID, Issuer, issuer
from tests.api.site import Site, serving
from tests.peers import free_port, wait_until
from tests.workbench.conftest import ROOT, chromium
from tests.workbench.test_walk import FLAGS

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
BROWSER = chromium()

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here (AXIOM_CHROMIUM names one)")


@pytest.fixture
def google() -> Iterator[Issuer]:
    with issuer() as running:
        yield running


@pytest.fixture
def site(home: Path, google: Issuer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(passwords, "ROUNDS", 4)
    settings = Settings(
        home=home, api_port=free_port(), min_free_mb=0, google_client_id=CLIENT_ID, google_issuer=google.url,
        google_jwks_url=google.jwks_url, google_hosted_domain="hospital.example",
    )  # fmt: skip
    with serving(settings) as served:
        yield served


@pytest.fixture
def workbench(site: Site, google: Issuer, home: Path) -> Iterator[str]:
    port = free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith("AXIOM_")} | {
        "AXIOM_HOME": str(home), "AXIOM_APP_PORT": str(port), "AXIOM_API_URL": site.url, "PYTHONPATH": str(ROOT),
        "AXIOM_GOOGLE_CLIENT_ID": CLIENT_ID, "AXIOM_GOOGLE_CLIENT_SECRET": "shh", "AXIOM_GOOGLE_ISSUER": google.url,
    }  # fmt: skip
    child = Child("app", [sys.executable, "-m", "engine", "app"], env=env, log=home / "app.log", cwd=ROOT)
    child.start()
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/_stcore/health", trust_env=False).is_success
        except httpx.HTTPError:
            return False

    try:
        wait_until(answers, 60, "the workbench")
        yield url
    finally:
        child.stop()


def test_one_waits_is_let_in_and_signs_out(workbench: str, site: Site, google: Issuer, home: Path) -> None:
    assert (home / "run" / "workbench-secrets.toml").stat().st_mode & 0o077 == 0
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=FLAGS)
        page = browser.new_context(viewport={"width": 1100, "height": 800}).new_page()
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        page.goto(workbench)
        page.get_by_role("button", name="Sign in with Google").click()
        expect(page.get_by_text("waits for an administrator")).to_be_visible()
        if shots := os.environ.get("AXIOM_SHOTS"):
            page.screenshot(path=Path(shots) / "google.png")
        site.store.people.change("ada@hospital.example", who="test", active=True)
        page.get_by_role("button", name="Sign in with Google").click()
        expect(page.get_by_role("heading", name="Today", exact=True)).to_be_visible()
        page.reload()
        expect(page.get_by_role("heading", name="Today", exact=True)).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Username")).to_be_visible()
        google.person = {"hd": "elsewhere.example"}
        page.get_by_role("button", name="Sign in with Google").click()
        expect(page.get_by_text("not accepted here")).to_be_visible()
        browser.close()
    whys = [r.detail.get("why") for r in site.store.audit.rows() if r.action == "sign-in-refused"]
    assert whys == ["domain", "pending"]
