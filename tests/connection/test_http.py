"""The HTTP client against a server on the loopback: sign-in, failures as the flow needs them, and no secret in a text."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from engine.connection.credentials import Authentication
from engine.connection.http import HttpClient, HttpSettings, retry_after
from engine.connection.words import peer_words
from engine.errors import Permanent, Retry
from tests.doubles.server import Answer, Asked, serve

CANARY = "canary-s3cret-7Q"
Serve = Callable[[Callable[[Asked], Answer]], str]


@pytest.fixture
def site() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(serve(answer))


def ask(url: str, method: str = "GET", **more: object) -> int:
    authentication = more.pop("authentication", None)
    settings = HttpSettings(silence_seconds=more.pop("silence", 60))
    with HttpClient(url, authentication, settings) as client:  # type: ignore[arg-type]
        return client.request(method, "x", **more).status_code  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, Permanent), (401, Permanent), (403, Permanent), (404, Permanent), (408, Retry), (409, Permanent),
     (413, Permanent), (415, Permanent), (425, Retry), (429, Retry), (500, Retry), (502, Retry), (503, Retry), (507, Retry)],
)  # fmt: skip
def test_a_status_is_the_last_word_or_not(site: Serve, status: int, error: type[Exception]) -> None:
    body = json.dumps({"title": "Busy", "detail": "Come back\nat night."}).encode()
    url = site(lambda _: Answer(status, body, {"Content-Type": "application/problem+json", "Retry-After": "31"}))
    with pytest.raises(error, match=rf"^{status} .*: Busy\. Come back at night") as caught:
        ask(url)
    assert caught.value.code == str(status)  # type: ignore[attr-defined]
    if error is Retry:
        assert caught.value.after == 31  # type: ignore[attr-defined]


def test_retry_after_as_seconds_as_date_and_as_nonsense() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after("120", now) == 120
    assert retry_after("Thu, 01 Jan 2026 00:01:30 GMT", now) == 90
    assert retry_after("Wed, 31 Dec 2025 00:00:00 GMT", now) == 0
    assert retry_after("9999999999", now) == 86_400
    for nonsense in ("", "soon", "-5", "1.5", "Thu, 99 Jan 2026"):
        assert retry_after(nonsense, now) is None


def test_redirects_stay_with_the_host_that_was_named(site: Serve) -> None:
    elsewhere: list[Asked] = []
    other = site(lambda asked: elsewhere.append(asked) or Answer())  # type: ignore[func-returns-value]

    def answer(asked: Asked) -> Answer:
        to = {"/x": asked.headers["To"], "/there": ""}.get(asked.path, "")
        return Answer(307, headers={"Location": to}) if to else Answer(200, asked.body)

    url = site(answer)
    authentication = Authentication(method="basic", user="u", password="env:PATH")
    assert ask(url, "POST", headers={"To": "/there"}, body=lambda: [b"a", b"b"], authentication=authentication) == 200
    with pytest.raises(Permanent, match=r"redirects to http://127.0.0.1:\d+, which is not followed"):
        ask(url, headers={"To": f"{other}/x"}, authentication=authentication)
    assert elsewhere == []
    with pytest.raises(Permanent, match="circles"):
        ask(url, headers={"To": "/x"})
    with HttpClient(url) as client, pytest.raises(Permanent, match="another host"):
        client.request("GET", f"{other}/session")


def test_silence_half_answers_and_closed_ports_are_tried_again(site: Serve) -> None:
    with pytest.raises(Retry, match="fell silent"):
        ask(site(lambda _: Answer(silent=True)), silence=0.3)
    with pytest.raises(Retry, match="broke off"):
        ask(site(lambda _: Answer(200, b"x" * 5000, cut=100)))
    with pytest.raises(Retry, match="cannot be reached"):
        ask("http://127.0.0.1:9")
    with pytest.raises(Retry, match=r"TLS with .* failed: it speaks no TLS on this port"):
        ask(site(lambda _: Answer()).replace("http:", "https:"))


def test_an_answer_that_drips_is_given_up(site: Serve) -> None:
    url = site(lambda _: Answer(200, b"x" * 10_000, drip=0.05))
    with pytest.raises(Retry, match="drips"):
        ask(url, silence=0.4)


def test_an_answer_longer_than_is_read_ends_it(site: Serve) -> None:
    url = site(lambda _: Answer(200, b"x" * (2 << 20)))
    with HttpClient(url, settings=HttpSettings(answer_megabytes=1)) as client, pytest.raises(Retry, match="longer than 1 MB"):
        client.request("GET", "x")


def test_no_proxy_of_the_environment_is_used(site: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Asked] = []
    proxy = site(lambda asked: seen.append(asked) or Answer(502))  # type: ignore[func-returns-value]
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    assert ask(site(lambda _: Answer())) == 200
    with HttpClient("http://nowhere.invalid", settings=HttpSettings(proxy=proxy)) as client, pytest.raises(Retry):
        client.request("GET", "x")
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("application/json", b'{"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}',
         "Quota exceeded. RESOURCE_EXHAUSTED"),
        ("application/json", b'[{"error": {"message": "Not found"}}]', "Not found"),
        ("application/json", b'{"error": "invalid_client", "error_description": "No such client"}',
         "invalid_client. No such client"),
        ("application/json", b'{"Details": "No room", "Message": "Full", "OrthancError": "Full", "HttpStatus": 500}',
         "Full. No room"),
        ("application/xml", b"<?xml version='1.0'?><Error><Code>X</Code><Message>No &amp; no</Message></Error>", "No & no"),
        ("text/html", b"<html><style>p{}</style><body><h1>Bad</h1><p>Gateway</p></body></html>", "Bad Gateway"),
        ("text/plain", b"  out\r\n of\x00 luck ", "out of luck"),
        ("application/dicom+json", b'{"00081198": {"Value": [{"00000902": {"Value": ["No room here"]}}]}}', "No room here"),
        ("application/octet-stream", b"\xff\xfe\x00", ""),
        ("application/json", b'{"half": ', ""),
    ],
)  # fmt: skip
def test_the_peers_own_words(kind: str, body: bytes, words: str) -> None:
    assert peer_words(kind, body) == words
    assert len(peer_words("text/plain", b"word " * 10_000)) <= 400


def oauth_site(site: Serve, *, lasts: int = 3600, form: bool = False) -> tuple[str, list[str], list[Asked]]:
    """A peer that takes the newest token of its own token endpoint, which takes the canary as secret."""
    given: list[str] = []
    asked: list[Asked] = []

    def answer(a: Asked) -> Answer:
        asked.append(a)
        if a.path != "/token":
            good = given and a.headers.get("Authorization") == f"Bearer {given[-1]}"
            return Answer(200 if good else 401, str(a.headers.get("Authorization")).encode())
        pair = base64.b64encode(f"axiom:{CANARY}".encode()).decode()
        fine = f"client_secret={CANARY}" in a.body.decode() if form else a.headers.get("Authorization") == f"Basic {pair}"
        if not fine or b"grant_type=client_credentials" not in a.body:
            return Answer(401, json.dumps({"error": "invalid_client", "error_description": a.body.decode()}).encode())
        given.append(f"token-{len(given)}-{CANARY}")
        return Answer(200, json.dumps({"access_token": given[-1], "expires_in": lasts}).encode())

    return site(answer), given, asked


@pytest.mark.parametrize("form", [False, True])
def test_oauth_tokens_are_kept_and_fetched_once_more_when_refused(
    site: Serve, form: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIENT_SECRET", CANARY)
    url, given, _ = oauth_site(site, form=form)
    how = Authentication.model_validate({
        "method": "oauth", "token_url": f"{url}/token", "client_id": "axiom", "client_secret": "env:CLIENT_SECRET",
        "client_sent_in": "body" if form else "header", "scope": "write",
    })  # fmt: skip
    assert [ask(url, authentication=how) for _ in range(3)] == [200] * 3
    assert len(given) == 1
    given.append("revoked-all")
    assert ask(url, "POST", body=lambda: [b"body"], authentication=how) == 200
    assert len(given) == 3


def test_a_token_that_ends_soon_is_not_used(site: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIENT_SECRET", CANARY)
    url, given, _ = oauth_site(site, lasts=0)
    how = Authentication(method="oauth", token_url=f"{url}/token", client_id="axiom", client_secret="env:CLIENT_SECRET")
    assert [ask(url, authentication=how) for _ in range(2)] == [200] * 2
    assert len(given) == 2


def test_no_secret_gets_into_errors_logs_or_texts(
    site: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """A peer that repeats what we said, at every method, with logging at its loudest."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SECRET", CANARY)
    echo = site(lambda a: Answer(403, json.dumps({"detail": f"{a.headers.get('Authorization')} {a.body.decode()}"}).encode()))
    hows = [
        Authentication(method="basic", user="u", password="env:SECRET"),
        Authentication(method="bearer", token="env:SECRET"),
        Authentication(method="oauth", token_url=f"{echo}/t", client_id="u", client_secret="env:SECRET"),
        Authentication(
            method="oauth", token_url=f"{echo}/t", client_id="u", client_secret="env:SECRET", client_sent_in="body"
        ),
    ]
    texts = [repr(how) + how.model_dump_json() for how in hows]
    encoded = [base64.b64encode(f"u:{CANARY}".encode()).decode(), CANARY]
    for how in hows:
        with pytest.raises(Permanent) as caught:
            ask(echo, authentication=how)
        error: BaseException | None = caught.value
        while error:
            texts.append(f"{error!r} {error}")
            error = error.__cause__
        assert "(hidden)" in str(caught.value)
    texts += [caplog.text]
    for secret in encoded:
        assert not [t for t in texts if secret in t]


def test_what_a_method_needs_is_asked_for() -> None:
    for method, words in (("basic", "user and password"), ("bearer", "token"), ("oauth", "token_url and client_id")):
        with pytest.raises(ValidationError, match=re.escape(f"The method {method} needs {words}")):
            Authentication(method=method)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="does not belong here") as caught:
        Authentication(method="bearer", token=CANARY)
    assert "belong" in str(caught.value)
