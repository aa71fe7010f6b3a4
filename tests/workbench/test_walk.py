"""The workbench in a real browser: signing in, every page, reloads, the keyboard; and no request to anybody else.

Screenshots go to the folder that AXIOM_SHOTS names, else to the test's own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine.process import Child
from tests.peers import free_port, wait_until
from tests.workbench.conftest import ROOT, chromium
from tests.workbench.fake_api import FakeApi

sync_api = pytest.importorskip("playwright.sync_api")
Page = sync_api.Page
expect = sync_api.expect

SHOTS = os.environ.get("AXIOM_SHOTS", "")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
BROWSER = chromium()
WALK = [
    ("instance", "Find an image"), ("browser", "Data browser"), ("held", "Held"), ("deliveries", "Deliveries"),
    ("rules", "Rules"), ("sources", "Sources"),
    ("destinations", "Destinations"), ("schedules", "Schedules"),
    ("crosswalk_sources", "Crosswalk sources"), ("crosswalk_maps", "Crosswalk maps"),
    ("alerts", "Alerts"), ("channels", "Channels"), ("alerts?show=pacs-away", "pacs-away"),
    ("revisions", "Revisions"), ("history", "History"), ("whatif", "What if"), ("analysis", "Analysis"),
    ("people", "People"), ("keys", "API keys"), ("secrets", "Stored secrets"),
    ("rules?show=main/ct-to-pacs", "ct-to-pacs"), ("destinations?show=pacs", "pacs"), ("schedules?show=office", "office"),
    ("instance?uid=1.2.826.0.1.3680043.8.498.1001.2", "Doe Jane"),
]  # fmt: skip

CUT = """e => { const r = e.getBoundingClientRect(), x = r.x + r.width - 2, y = r.y + r.height / 2;
  const top = document.elementFromPoint(x, y), button = e.closest("button");
  return r.width < 20 || x > innerWidth || !top || !button.contains(top); }"""
"""Whether the right end of a button's word cannot be seen: it is no wider than a letter, or something else lies there."""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here (AXIOM_CHROMIUM names one)")


@pytest.fixture
def workbench(api_url: str, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    flags = [f"--server.port={port}", "--server.address=127.0.0.1"]
    argv = [sys.executable, "-m", "streamlit", "run", "workbench/server.py", *flags]
    env = dict(os.environ) | {"AXIOM_API_URL": api_url}
    child = Child("workbench", argv, env=env, log=tmp_path / "workbench.log", cwd=ROOT)
    child.start()

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/_stcore/health", trust_env=False).is_success
        except httpx.HTTPError:
            return False

    try:
        wait_until(answers, 60)
        yield url
    finally:
        child.stop()


class Visit:
    """A browser at the workbench that notes each request to anybody else and each error of a page's script."""

    def __init__(self, browser: object, url: str, shots: Path, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": 1360, "height": 900}, color_scheme=scheme)  # type: ignore[attr-defined]
        self.page = self.context.new_page()
        self.url, self.shots, self.strangers, self.errors = url, shots, [], []
        self.page.on("request", self._note)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))

    def _note(self, request: object) -> None:
        asked = request.url  # type: ignore[attr-defined]
        if not asked.startswith((self.url, self.url.replace("http", "ws", 1), "data:", "blob:")):
            self.strangers.append(asked)

    def sign_in(self) -> None:
        self.page.goto(self.url)
        self.page.get_by_label("Username").fill("ada")
        self.page.get_by_label("Password", exact=True).fill("correct horse")
        with self.page.expect_response("**/session") as answer:
            self.page.keyboard.press("Enter")
        assert answer.value.status == 204
        self.heading("Today")

    def heading(self, text: str) -> None:
        expect(self.page.get_by_role("heading", name=text, exact=True).first).to_be_visible(timeout=60_000)

    def shoot(self, name: str) -> None:
        expect(self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible(timeout=60_000)
        expect(self.page.locator("[data-testid=stSkeleton]")).to_have_count(0, timeout=60_000)
        assert self.page.get_by_test_id("stException").count() == 0, f"{name} ended in an error"
        self.page.evaluate("document.fonts.ready")
        high = self.page.evaluate("document.querySelector('.stMainBlockContainer').scrollHeight")
        self.page.set_viewport_size({"width": 1360, "height": max(900, min(int(high) + 60, 3000))})
        self.page.screenshot(path=self.shots / f"{name}.png")
        self.page.set_viewport_size({"width": 1360, "height": 900})


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    folder = Path(SHOTS) if SHOTS else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def browser() -> Iterator[object]:
    with sync_api.sync_playwright() as p:
        found = p.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield found
        found.close()


def test_a_walk_through_every_page(workbench: str, browser: object, shots: Path, api: FakeApi) -> None:
    visit = Visit(browser, workbench, shots)
    page = visit.page
    visit.sign_in()
    expect(page.get_by_text("4 images held")).to_be_visible()
    expect(page.locator("[data-id='destination:pacs']")).to_be_visible()
    visit.shoot("today")

    cookie = next(c for c in visit.context.cookies() if c["name"] == "axiom_session")
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["expires"]) == (True, "Strict", -1)
    assert page.evaluate("document.cookie").find("axiom_session") == -1

    for place, heading in WALK:
        page.goto(f"{workbench}/{place}")  # a new connection each time: the ticket signs in
        visit.heading(heading)
        visit.shoot("".join(c if c.isalnum() else "-" for c in place))

    page.set_viewport_size({"width": 800, "height": 900})  # beside the open side bar: half a screen
    page.goto(f"{workbench}/rules")
    visit.heading("Rules")
    for name in ("Edit", "shadow"):
        cut = page.get_by_text(name, exact=True).first.evaluate(CUT)
        assert not cut, f"{name} is cut"
    visit.shoot("rules-narrow")

    page.goto(f"{workbench}/rules?show=main/mr-to-pacs")
    page.get_by_role("button", name="What would this have done?").click()
    visit.heading("What if")
    page.get_by_role("button", name="Ask the history").click()
    expect(page.get_by_text("Only the draft takes these")).to_be_visible(timeout=60_000)
    visit.shoot("whatif-asked")

    page.get_by_role("link", name="Today").click()
    box = page.locator("[data-id='rule:main/ct-to-pacs']")
    box.focus()
    page.keyboard.press("Enter")
    visit.heading("ct-to-pacs")

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Username")).to_be_visible()
    assert ("logout", "ada") in api.did
    page.reload()
    expect(page.get_by_label("Username")).to_be_visible()
    assert visit.strangers == []
    assert visit.errors == []


def test_the_flow_is_alive_and_dark_at_night(workbench: str, browser: object, shots: Path) -> None:
    visit = Visit(browser, workbench, shots, "dark")
    visit.sign_in()
    counted = visit.page.locator(".ax-card b").first
    before = counted.inner_text()
    expect(counted).not_to_have_text(before, timeout=60_000)
    background = visit.page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert background == "rgb(20, 25, 28)"
    visit.shoot("today-dark")


def test_without_a_code_there_is_no_cookie(workbench: str) -> None:
    with httpx.Client(base_url=workbench, trust_env=False) as anybody:
        guessed = anybody.post("/session", json={"code": "guessed"})
        assert guessed.status_code == 403
        assert not guessed.cookies
        assert anybody.post("/session", data={"code": "x"}).status_code == 415
        assert anybody.post("/session", json={"code": "x"}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert anybody.post("/session", content="no json", headers={"Content-Type": "application/json"}).status_code == 403


def test_a_rule_is_put_several_places_further_in_one_step(
    workbench: str, browser: object, shots: Path, api: FakeApi
) -> None:
    def order() -> list[str]:
        rules = api.document["rulesets"][0]["rules"]
        return [r["name"] for r in sorted(rules, key=lambda r: r["priority"])]

    visit = Visit(browser, workbench, shots)
    page = visit.page
    visit.sign_in()
    page.goto(f"{workbench}/rules")
    visit.heading("Rules")
    last = order()[-1]

    def open_last() -> None:
        page.locator(f".st-key-move-main-{last} button").first.click()
        expect(page.get_by_role("dialog")).to_be_visible(timeout=20_000)

    open_last()
    visit.shoot("rules-move")
    page.get_by_role("button", name="To the top").click()
    wait_until(lambda: order()[0] == last, 60, "the rule at the top")
    expect(page.get_by_role("dialog")).to_have_count(0, timeout=20_000)
    open_last()
    page.get_by_role("button", name="To the bottom").click()
    wait_until(lambda: order()[-1] == last, 60, "the rule at the bottom")
    expect(page.get_by_role("dialog")).to_have_count(0, timeout=20_000)
    open_last()
    page.get_by_role("dialog").get_by_role("combobox").click()
    page.get_by_role("option").nth(1).click()
    page.get_by_role("button", name="Move it").click()
    wait_until(lambda: order()[1] == last, 60, "the rule in the second place")
    assert not visit.errors
