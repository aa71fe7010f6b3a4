"""The pages of people and keys, on the real API: what their buttons do is done there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from engine.security import passwords
from engine.settings import Settings
from tests.api.site import PASSWORD, Site, serving
from tests.peers import free_port
from tests.workbench.test_pages import button, said
from workbench.client import Client

Open = Callable[[str], AppTest]


@pytest.fixture
def site(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(passwords, "ROUNDS", 4)
    with serving(Settings(home=home, api_port=free_port(), min_free_mb=0)) as served:
        served.person("root", "Admin")
        yield served


@pytest.fixture
def page(site: Site, app: AppTest) -> Open:
    client = Client(site.url)
    client.login("root", PASSWORD)

    def open_(name: str) -> AppTest:
        app.session_state["client"] = client
        app.switch_page(f"workbench/pages/{name}.py").run()
        assert not app.exception, app.exception
        return app

    return open_


def test_a_person_is_added_and_the_password_shown_once(page: Open, site: Site) -> None:
    at = page("people")
    next(t for t in at.text_input if t.label == "Username").set_value("grace")
    next(t for t in at.text_input if t.label == "Name").set_value("Grace")
    button(at, "Add").click().run()
    one_time = at.code[0].value
    assert site.store.people.verify("grace", one_time).must_change_password
    button(at, "I have noted it").click().run()
    assert not at.code
    assert one_time not in said(at)


def test_a_person_is_changed_shut_out_and_let_in(page: Open, site: Site) -> None:
    site.person("grace")
    at = page("people")
    nth = next(i for i, b in enumerate(b for b in at.button if b.label == "Save") if "grace" in str(b.proto.form_id))
    next(s for s in at.selectbox if s.label == "Role" and "grace" in str(s.proto.form_id)).set_value("Admin")
    button(at, "Save", nth).click().run()
    assert site.store.people.get("grace").role == "Admin"
    at.button(key="off-grace").click().run()
    assert site.store.people.get("grace").active is False
    at.button(key="on-grace").click().run()
    assert site.store.people.get("grace").active is True


def test_what_the_api_refuses_is_said(page: Open, site: Site) -> None:
    at = page("people")
    at.button(key="off-root").click().run()
    assert "Nobody could administer any more" in at.error[0].value
    assert site.store.people.get("root").active is True


def test_a_role_is_made_by_ticking_what_it_may(page: Open, site: Site) -> None:
    at = page("people")
    at.segmented_control(key="people-view").set_value("roles").run()
    next(t for t in at.text_input if t.label == "Name").set_value("Night shift")
    at.checkbox(key="new-role-operate").check()
    button(at, "Save").click().run()
    assert site.store.roles.get("Night shift").permissions == ("operate", "view")
    at.button(key="delete-role-Night shift").click().run()
    assert [r.name for r in site.store.roles.list()] == ["Admin", "User", "Sender"]


def test_a_key_is_made_shown_once_and_revoked(page: Open, site: Site) -> None:
    at = page("keys")
    next(t for t in at.text_input if t.label == "What is it for?").set_value("report")
    next(t for t in at.text_input if t.label == "Only from").set_value("127.0.0.0/8, ::1")
    next(m for m in at.multiselect).set_value(["view"])
    button(at, "Make it").click().run()
    text = at.code[0].value
    _, key = site.store.keys.verify(text, address="127.0.0.1")
    assert (key.permissions, key.networks) == (("view",), ("127.0.0.0/8", "::1"))
    button(at, "I have put it away").click().run()
    assert text not in said(at)
    assert not at.code
    at.button(key=f"revoke-{key.prefix}-yes").click().run()
    assert site.store.keys.list()[0].revoked_at is not None


def test_who_does_not_administer_is_not_offered_people(site: Site, app: AppTest) -> None:
    site.person("ada")
    client = Client(site.url)
    client.login("ada", PASSWORD)
    app.session_state["client"] = client
    app.run()
    links = [e.proto.label for e in app.get("page_link")]
    assert "API keys" in links
    assert "People" not in links
