from __future__ import annotations

import threading
from typing import Any, ClassVar, Literal

import pytest

from engine import component
from engine.api.openapi import examples_of
from engine.configuration import FAMILIES, load_configuration
from engine.destinations.base import Destination
from engine.model import Tick
from tests.api.site import Site
from tests.store.documents import SMALL, rule
from tests.store.test_items import WRONG

PACS = {"name": "pacs", "kind": "nothing"}


def test_add_read_replace_change_and_delete(site: Site) -> None:
    client = site.signed_in()
    made = client.post("/destinations", json=PACS, headers={"X-Reason": "a new one"})
    assert (made.status_code, made.json(), made.headers["ETag"]) == (201, PACS, '"1"')
    assert made.headers["Location"] == "/api/v1/destinations/pacs"
    assert client.post("/destinations", json=PACS).status_code == 409
    assert client.put("/destinations/pacs", json={"kind": "nothing", "parallel": 2}).json() == {**PACS, "parallel": 2}
    patched = client.patch("/destinations/pacs", json={"parallel": None, "description": "x"})
    assert patched.json() == {**PACS, "description": "x"}
    assert client.put("/destinations/second", json={"kind": "nothing"}).json()["name"] == "second"
    assert client.delete("/destinations/second").status_code == 204
    assert client.get("/destinations/second").status_code == 404
    revisions = client.get("/revisions").json()
    assert [r["author"] for r in revisions["items"]] == ["root"] * 5
    assert revisions["items"][-1]["reason"] == "a new one"


def test_a_change_that_another_one_overtook_is_refused(site: Site) -> None:
    client = site.signed_in()
    client.post("/destinations", json=PACS)
    read = client.get("/destinations/pacs").headers["ETag"]
    first = client.patch("/destinations/pacs", json={"description": "first"}, headers={"If-Match": read})
    second = client.patch("/destinations/pacs", json={"description": "second"}, headers={"If-Match": read})
    assert (first.status_code, second.status_code) == (200, 412)
    assert "changed after you read it" in second.json()["detail"]
    again = client.delete("/destinations/pacs", headers={"If-Match": read})
    assert again.status_code == 412
    assert client.get("/destinations/pacs").json()["description"] == "first"
    fresh = client.get("/destinations/pacs").headers["ETag"]
    assert client.delete("/destinations/pacs", headers={"If-Match": fresh}).status_code == 204


def test_what_others_changed_beside_it_does_not_matter(site: Site) -> None:
    client = site.signed_in()
    client.post("/destinations", json=PACS)
    read = client.get("/destinations/pacs").headers["ETag"]
    client.post("/destinations", json={"name": "other", "kind": "nothing"})
    assert client.patch("/destinations/pacs", json={"parallel": 2}, headers={"If-Match": read}).status_code == 200


@pytest.mark.parametrize("etag", ["12", '"x"', '"1", "2"', '"99999999999"'])
def test_an_odd_if_match_is_refused_in_words(site: Site, etag: str) -> None:
    answer = site.signed_in().put("/destinations/pacs", json=PACS, headers={"If-Match": etag})
    assert (answer.status_code, answer.json()["problems"][0]["loc"]) == (422, ["If-Match"])


def test_two_savers_at_once_of_the_same_item(site: Site) -> None:
    site.signed_in().post("/destinations", json=PACS)
    clients = [site.signed_in("ada", "Admin"), site.signed_in("ben", "Admin")]
    start, statuses = threading.Barrier(2), []

    def save(i: int) -> None:
        start.wait()
        body = {"kind": "nothing", "description": f"from {i}"}
        statuses.append(clients[i].put("/destinations/pacs", json=body, headers={"If-Match": '"1"'}).status_code)

    threads = [threading.Thread(target=save, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 412]


@pytest.mark.parametrize(("what", "wrong", "loc", "words"), WRONG, ids=[w[0] for w in WRONG])
def test_a_wrong_rule_is_refused_beside_its_field(
    site: Site, what: str, wrong: dict[str, object], loc: tuple[str | int, ...], words: str
) -> None:
    client = site.signed_in()
    client.post("/destinations", json=PACS)
    ruleset = {"name": "main", "priority": 1, "rules": [wrong]}
    for answer in (client.post("/rulesets", json=ruleset), client.put("/rulesets/main", json=ruleset)):
        assert answer.status_code == 422
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["problems"][0]["loc"] == list(loc)
        assert words in answer.json()["problems"][0]["words"]
    validated = client.post("/rulesets/validate", json=ruleset)
    assert (validated.status_code, validated.json()["problems"][0]["loc"]) == (200, list(loc))
    assert client.get("/rulesets").json()["items"] == []


def test_equal_priority_is_refused_beside_its_field(site: Site) -> None:
    client = site.signed_in()
    client.post("/destinations", json=PACS)
    rules = [rule(name="a"), rule(name="b")]
    answer = client.post("/rulesets", json={"name": "main", "priority": 1, "rules": rules})
    assert answer.json()["problems"] == [
        {
            "loc": ["rulesets", "main", "rules", "b", "priority"],
            "words": "Priority 10 is taken by the rule a: each needs its own, or their order is chance.",
        }
    ]


def test_what_is_used_does_not_go_and_says_by_whom(site: Site) -> None:
    client = site.signed_in()
    client.post("/config/apply", json={"document": SMALL})
    assert client.get("/destinations/pacs/used-by").json() == {"used_by": ["rulesets/main/rules/ct"], "deliveries": 0}
    answer = client.delete("/destinations/pacs")
    assert (answer.status_code, answer.json()["used_by"]) == (409, ["rulesets/main/rules/ct"])
    assert client.get("/destinations/nope/used-by").status_code == 404


def test_lists_are_filtered_sorted_and_paged(site: Site) -> None:
    client = site.signed_in()
    names = [("zebra", 3), ("ant", 9), ("bee", None)]
    items = [{"name": n, "kind": "nothing", **({"parallel": p} if p else {})} for n, p in names]
    client.post("/config/apply", json={"document": {"destinations": items}})

    def listed(**params: object) -> list[str]:
        return [i["name"] for i in client.get("/destinations", params=params).json()["items"]]

    assert listed() == ["ant", "bee", "zebra"]
    assert listed(sort="-name") == ["zebra", "bee", "ant"]
    assert listed(sort="parallel") == ["bee", "zebra", "ant"]
    assert listed(q="EE") == ["bee"]
    assert listed(kind="dimse") == []
    assert listed(limit=1, offset=1) == ["bee"]
    page = client.get("/destinations", params={"limit": 1})
    assert (page.json()["total"], page.json()["revision"], page.headers["ETag"]) == (3, 1, '"1"')


def test_check_tries_the_real_thing_before_saving(site: Site, free_port: int) -> None:
    client = site.signed_in()
    ticks = client.post("/destinations/check", json=PACS).json()["ticks"]
    assert ticks[0] == {"name": "fields", "ok": True, "words": "they hold together"}
    away = {"name": "pacs", "kind": "dimse", "host": "127.0.0.1", "port": free_port, "ae_title": "PACS"}
    ticks = client.post("/destinations/check", json=away).json()["ticks"]
    assert False in [t["ok"] for t in ticks]
    assert client.post("/destinations/check", json={"name": "x", "kind": "none"}).status_code == 422
    assert client.post("/schedules/check", json={"name": "night"}).json()["ticks"][0]["ok"] is True
    assert client.get("/destinations").json()["items"] == []


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"", "not JSON"), (b"{", "not JSON"), (b"[]", "must be a JSON object"), (b'"x"', "must be a JSON object"),
     (b"[" * 100_000, "nested too deeply"), (b'{"name": "a", "name": "b"}', "key twice"), (b"\xff", "not JSON"),
     (b'{"name": NaN}', "not JSON")],
)  # fmt: skip
def test_what_is_no_item_is_refused_in_words(site: Site, body: bytes, words: str) -> None:
    answer = site.signed_in().post("/destinations", content=body)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_families_say_what_a_form_must_ask(site: Site) -> None:
    families = site.signed_in("ada", "User").get("/families").json()
    assert set(families) == {*FAMILIES, "morphs"}
    dimse = families["destinations"]["kinds"]["dimse"]
    assert {"host", "port", "ae_title"} <= {f["name"] for f in dimse["fields"]}
    assert dimse["label"]
    assert dimse["doc"]
    assert dimse["schema"]["properties"]["port"]["maximum"] == 65535
    assert {"set", "delete"} <= set(families["morphs"]["kinds"])
    assert {"priority", "rules"} <= {f["name"] for f in families["rulesets"]["fields"]}


def test_examples_of_the_document_can_be_saved() -> None:
    needed = {"crosswalk_sources": [{"name": "mrn-db", "kind": "csv", "path": "/srv/crosswalk.csv"}]}
    for family in FAMILIES:
        for name, example in examples_of(family).items():
            assert load_configuration({**needed, family: [example["value"]]}), name


def test_a_new_kind_appears_everywhere_without_another_edit(site: Site) -> None:
    class Pigeon(Destination):
        """Delivers by pigeon.

        Guarantee: none.
        """

        label: ClassVar[str] = "Pigeon"
        kind: Literal["pigeon"] = "pigeon"
        loft: str
        """Where it lives."""

        def check(self) -> list[Tick]:
            if self.loft == "burnt":
                raise RuntimeError("no loft")
            return [Tick("loft", True, self.loft)]

    try:
        client = site.signed_in()
        document = client.get("/openapi.json").json()
        assert document["components"]["schemas"]["Destination"]["discriminator"]["mapping"]["pigeon"].endswith("/Pigeon")
        assert "loft" in client.get("/families").json()["destinations"]["kinds"]["pigeon"]["schema"]["properties"]
        body = {"name": "bird", "kind": "pigeon", "loft": "tower"}
        assert client.post("/destinations", json=body).json() == body
        assert client.post("/destinations/check", json=body).json()["ticks"][1]["words"] == "tower"
        burnt = client.post("/destinations/check", json={**body, "loft": "burnt"})
        assert burnt.json()["ticks"][1] == {"name": "check", "ok": False, "words": "It could not be tried: no loft."}
    finally:
        del component._registry["destination"]["pigeon"]
        component._state["dirty"] = True
        component.rebuild()


@pytest.mark.parametrize(
    ("family", "item"),
    [
        ("destinations", {"kind": "dimse", "ae_title": "PACS", "port": 104}),
        ("sources", {"kind": "dimse_qr", "ae_title": "PACS", "port": 104}),
        ("sources", {"kind": "dimse_listener", "port": 11119}),
        ("channels", {"kind": "email", "sender": "a@example.org", "to": ["b@example.org"]}),
        ("crosswalk_sources", {"kind": "mysql", "user": "a", "database": "b", "table": "c"}),
    ],
)
@pytest.mark.parametrize("host", ["a" * 64, "pacs..example", "two words", "\u00e9" * 60])
def test_a_host_that_no_machine_can_have_is_refused_beside_its_field(
    site: Site, family: str, item: dict[str, Any], host: str
) -> None:
    answer = site.signed_in().post(f"/{family}/validate", json=item | {"name": "x", "host": host})
    assert ["host"] in [p["loc"][-1:] for p in answer.json()["problems"]], answer.text
