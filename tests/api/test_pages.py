from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Request, sync_playwright

from tests.api.site import Site
from tests.peers import need


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(need("chromium")), args=["--no-sandbox"])
        yield running
        running.close()


@pytest.mark.parametrize(
    ("address", "shown"), [("docs", "Add a destination"), ("redoc", "Add a destination")], ids=["swagger", "redoc"]
)
@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_the_pages_work_without_the_internet(site: Site, browser: Browser, address: str, shown: str) -> None:
    page = browser.new_page()
    requests: list[Request] = []
    complaints: list[str] = []
    page.on("request", lambda r: requests.append(r))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.goto(f"{site.url}/api/v1/{address}")
    if address == "docs":
        page.get_by_text("Destinations", exact=True).first.click()
    found = page.get_by_role("heading", name=shown).or_(page.locator(".opblock", has_text=shown))
    found.first.wait_for(state="visible", timeout=60_000)
    outside = [r.url for r in requests if not r.url.startswith((site.url, "data:", "blob:"))]
    assert outside == []
    assert complaints == []
    page.close()


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_no_page_names_another_host(site: Site) -> None:
    for address in ("docs", "redoc"):
        answer = site.anonymous().get(f"/{address}")
        assert re.findall(r"https?://", answer.text) == []
        assert "'unsafe-eval'" not in answer.headers["Content-Security-Policy"]
        assert "script-src 'self';" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_the_document_is_whole(site: Site) -> None:
    document = site.anonymous().get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', site.anonymous().get("/openapi.json").text))
    assert names - set(schemas) == set()
    assert schemas["Destination"]["discriminator"]["propertyName"] == "kind"
    operations = [o for methods in document["paths"].values() for o in methods.values()]
    assert len({o["operationId"] for o in operations}) == len(operations)
    assert all(o["summary"] for o in operations)
    body = document["paths"]["/api/v1/destinations"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/Destination"}
    assert body["examples"]["nothing"]["value"]["kind"] == "nothing"
