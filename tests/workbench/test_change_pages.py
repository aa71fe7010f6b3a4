"""The pages of revisions, rules' order and stored secrets, on the real API: what their buttons do is done there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from streamlit.testing.v1 import AppTest

from tests.api.site import PASSWORD, Site
from tests.workbench.test_pages import button, said
from tests.workbench.test_people_pages import site  # noqa: F401  (a fixture)
from workbench.client import Client

Open = Callable[[str], AppTest]
RULES = "rulesets: [{{name: main, priority: 10, rules: [{}]}}]"


@pytest.fixture
def page(site: Site, app: AppTest) -> Open:  # noqa: F811
    for number, names in enumerate(("a", "a b", "a b c", "a b c d"), 1):
        rules = ", ".join(f"{{name: {n}, priority: {i}, destinations: []}}" for i, n in enumerate(names.split(), 1))
        site.store.apply(RULES.format(rules), author="root", reason=f"step {number}")
    client = Client(site.url)
    client.login("root", PASSWORD)

    def open_(name: str) -> AppTest:
        app.session_state["client"] = client
        app.switch_page(f"workbench/pages/{name}.py").run()
        assert not app.exception, app.exception
        return app

    return open_


def choose_revision(at: AppTest, number: int) -> None:
    radio = at.radio(key="revision")
    radio.set_value(next(o for o in radio.options if o.startswith(f"**{number}**"))).run()


def order(site: Site) -> list[str]:  # noqa: F811
    rules = site.store.item("rulesets", "main")["rules"]
    return [r["name"] for r in sorted(rules, key=lambda r: r["priority"])]


def test_a_revision_is_planned_and_the_plan_cancelled(page: Open, site: Site) -> None:  # noqa: F811
    at = page("revisions")
    choose_revision(at, 2)
    when = datetime.now(UTC).replace(hour=6, minute=0, second=0, microsecond=0) + timedelta(days=40)
    at.datetime_input[0].set_value(when.replace(tzinfo=None))
    next(t for t in at.text_input if t.label == "Why").set_value("the scanner moves")
    button(at, "Plan it").click().run()
    assert not at.exception, at.exception
    (plan,) = site.store.activations.list()
    assert (plan.revision, plan.at, plan.reason) == (2, when, "the scanner moves")
    assert f"{when:%Y-%m-%d} 06:00" in said(at)
    button(at, "Cancel the plan").click().run()
    assert site.store.activations.list()[0].outcome == "Cancelled by root."
    assert "Cancelled by root." in said(at)


def test_a_moment_that_has_passed_is_refused_in_words(page: Open, site: Site) -> None:  # noqa: F811
    at = page("revisions")
    at.datetime_input[0].set_value(datetime.now(UTC).replace(tzinfo=None) - timedelta(days=1))
    button(at, "Plan it").click().run()
    assert "a moment to come" in at.error[0].value
    assert site.store.activations.list() == []


def test_any_two_revisions_are_compared(page: Open) -> None:
    at = page("revisions")
    other = next(s for s in at.selectbox if s.label == "Compared with")
    assert len(other.options) == 4
    other.set_value(1).run()
    words = said(at)
    assert all(f"rules › {name}" in words or f'"{name}"' in words for name in "bcd"), words


def test_a_revision_is_named_and_gone_back_to_with_a_reason(page: Open, site: Site) -> None:  # noqa: F811
    at = page("revisions")
    choose_revision(at, 3)
    next(t for t in at.text_input if t.label == "Name").set_value("before the move")
    button(at, "Save").click().run()
    assert site.store.revision(3).label == "before the move"
    at.text_input(key="why-3").set_value("it was better").run()
    button(at, "Go back").click().run()
    newest = site.store.revision(site.store.live_revision())
    assert (newest.id, newest.reason) == (5, "it was better")
    assert order(site) == ["a", "b", "c"]


def test_rules_change_places_by_the_apis_own_route(page: Open, site: Site) -> None:  # noqa: F811
    at = page("rules")
    at.button(key="up-main/b").click().run()
    assert order(site) == ["b", "a", "c", "d"]
    at.button(key="down-main/b").click().run()
    assert order(site) == ["a", "b", "c", "d"]
    assert [r["priority"] for r in site.store.item("rulesets", "main")["rules"]] == [10, 20, 30, 40]


def test_a_secret_that_nothing_names_is_removed_by_hand(page: Open, site: Site) -> None:  # noqa: F811
    orphan, used = (site.store.secrets.put(words, who="root") for words in ("s3cret-a", "s3cret-b"))
    source = (
        "crosswalk_sources: [{name: mrn, kind: postgresql, host: db, user: axiom, database: mrn, table: patients,"
        f' password: "{used}"}}]'
    )
    site.store.apply(source, author="root")
    at = page("secrets")
    assert "crosswalk_sources/mrn" in said(at)
    button(at, "Forget it").click().run()
    assert [s.reference for s in site.store.secrets.list()] == [used]
    assert orphan not in said(at)
    assert not [b for b in at.button if b.label == "Forget it"]
