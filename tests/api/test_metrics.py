"""/metrics as Prometheus reads it: parsed by the client's own parser, in both formats; and who may."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_text
from pydantic import SecretStr

from engine.api.metrics import METRICS
from engine.model import Outcome, Receipt
from engine.settings import Settings
from tests.api.site import Site
from tests.flow.road import Road, Sink, instance, receive

OPEN = "application/openmetrics-text; version=1.0.0"
CONFIGURATION: dict[str, Any] = {
    "sources": [{"name": "modalities", "kind": "dimse_listener", "ae_title": "AXIOM", "port": 11112}],
    "destinations": [{"name": "pacs", "kind": "test_sink"}, {"name": "refuses", "kind": "test_sink"}],
    "channels": [{"name": "hook", "kind": "webhook", "url": "https://example.org"}],
    "alerts": [{"name": "held", "kind": "held", "channels": ["hook"]}],
    "rulesets": [{"name": "main", "priority": 1, "rules": [
        {"name": "ct", "priority": 1, "destinations": ["pacs", "refuses"],
         "when": {"tag": "Modality", "op": "eq", "value": "CT"}}]}],
}  # fmt: skip

pytestmark = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)


@pytest.fixture
def scraper(site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    """Two images delivered to one destination and refused by the other, one that no rule matched."""
    answers = {"pacs": Outcome.CONFIRMED, "refuses": Outcome.REFUSED}
    monkeypatch.setattr(Sink, "given", [])
    monkeypatch.setattr(Sink, "answer", lambda name, one: Receipt(one.index, answers[name], "0xC000", "no", size=7))
    site.store.save(CONFIGURATION, author="test")
    road = Road(settings.home, CONFIGURATION)
    receive(road.spool, [("1.2.1", instance("1.2.1", patient="P-CANARY")), ("1.2.2", instance("1.2.2", patient="P-CANARY"))])
    receive(road.spool, [("1.2.3", instance("1.2.3", "US", patient="P-CANARY"))])
    road.route()
    road.deliver()
    client = site.signed_in("ada", "User")
    client.get("/instances/1.2.999.canary")
    return client


def samples(text: str, parse: Any = parse_text) -> dict[tuple[str, ...], float]:
    return {(s.name, *s.labels.values()): s.value for family in parse(text) for s in family.samples}


def test_both_formats_say_the_same_and_what_is_true(scraper: httpx.Client, site: Site) -> None:
    url = f"{site.url}/metrics"
    text, opened = scraper.get(url), scraper.get(url, headers={"Accept": OPEN})
    assert text.headers["Content-Type"].startswith("text/plain")
    assert opened.headers["Content-Type"].startswith("application/openmetrics-text")
    for found in (samples(text.text), samples(opened.text, parse_open)):
        assert found["axiom_images_received_total", "modalities"] == 3
        assert found["axiom_images_unmatched_total", "modalities"] == 1
        assert found["axiom_images_delivered_total", "pacs"] == 2
        assert found["axiom_delivered_bytes_total", "pacs"] == 14
        assert found["axiom_images_refused_total", "refuses"] == 2
        assert found["axiom_delivery_attempts_total", "refuses", "dead"] == 1
        assert found["axiom_destination_dead", "refuses"] == 1
        assert found["axiom_delivery_latency_seconds_count", "pacs"] == 1
        assert found["axiom_delivery_latency_seconds_bucket", "pacs", "+Inf"] == 1
        assert found["axiom_listener_up", "modalities"] == 0
        assert found["axiom_unmatched_images",] == 1
        assert found["axiom_redis_up",] == 0
        assert found["axiom_alerts_firing", "held"] == 0
        assert found["axiom_api_requests_total", "GET", "/api/v1/instances/{sop_instance_uid}", "404"] >= 1


def test_every_metric_is_in_the_table_and_nothing_of_a_patient_in_any(scraper: httpx.Client, site: Site) -> None:
    text = scraper.get(f"{site.url}/metrics").text
    for hidden in ("CANARY", "canary", "Doe", "1.2.999"):
        assert hidden not in text
    for family in parse_text(text):
        if family.name.startswith("process_"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name.endswith("_created"):
            continue
        row = METRICS[name]
        assert (family.type, family.documentation) == (row.kind, row.words)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(row.labels), name


def test_what_a_client_makes_up_makes_no_series(scraper: httpx.Client, site: Site) -> None:
    for n in range(3):
        scraper.request(f"ODD{n}", f"{site.url}/nowhere/{n}")
    found = samples(scraper.get(f"{site.url}/metrics").text)
    odd = [key for key in found if key[0] == "axiom_api_requests_total" and "other" in key]
    assert len(odd) == 1


def test_never_anonymous_and_by_the_token_only_this(site: Site) -> None:
    object.__setattr__(site.parts, "settings", site.parts.settings.model_copy(update={"metrics_token": SecretStr("t0ken-x")}))
    with site.anonymous() as client:
        assert client.get(f"{site.url}/metrics").status_code == 401
    with site.anonymous(Authorization="Bearer t0ken-y") as client:
        assert client.get(f"{site.url}/metrics").status_code == 401
    with site.anonymous(Authorization="Bearer t0ken-x") as client:
        assert client.get(f"{site.url}/metrics").status_code == 200
        assert client.get("/status").status_code == 401


def test_without_a_token_set_an_empty_one_opens_nothing(site: Site) -> None:
    for header in ("Bearer x", "Bearer", ""):
        with site.anonymous(Authorization=header) as client:
            assert client.get(f"{site.url}/metrics").status_code == 401
