"""STOW-RS over TLS: our authority and certificate, and what is wrong with a peer's, named."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from engine.destinations.stow_rs import StowRs
from engine.errors import Retry
from engine.model import Outcome
from tests.connection.authority import Authority, Pair
from tests.destinations.support import deliver, instance
from tests.doubles.server import Answer, Asked, serve


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def store(asked: Asked) -> Answer:
    uids = [u.decode() for u in re.findall(rb"1\.2\.80\.\d", asked.body)]
    return Answer(200, json.dumps({"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [uids[0]]}}]}}).encode())


def server(stack: ExitStack, pair: Pair, clients: Authority | None = None) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if clients:
        context.load_verify_locations(clients.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return stack.enter_context(serve(store, context))


def to(url: str, **tls: Any) -> StowRs:
    return StowRs.model_validate({"name": "pacs", "url": f"{url}/dicom-web", "tls": tls})


def test_over_tls_and_with_a_certificate_of_our_own(authority: Authority, stack: ExitStack, tmp_path: Path) -> None:
    one = instance(tmp_path, 0, uid="1.2.80.1")
    url = server(stack, authority.issue("peer"), authority)
    ours = authority.issue("axiom")
    destination = to(url, ca=authority.reference, **ours.fields)
    assert deliver(destination, [one])[0].outcome is Outcome.CONFIRMED
    ticks = {t.name: t for t in destination.check()}
    assert ticks["TLS valid"].ok
    assert re.search(r"TLSv1\.3, certificate valid until \d{4}-\d\d-\d\d: only 29 days", ticks["TLS valid"].words)
    with pytest.raises(Retry, match="wants a client certificate"):
        deliver(to(url, ca=authority.reference), [one])
    stranger = Authority(tmp_path / "other").issue("axiom")
    with pytest.raises(Retry, match="does not accept our certificate"):
        deliver(to(url, ca=authority.reference, **stranger.fields), [one])


@pytest.mark.parametrize(
    ("issue", "words"),
    [
        ({"names": ("127.0.0.1",), "ends": -0.1}, "has expired"),
        ({"names": ("pacs.example.org",)}, "made out to another address"),
        ({"names": ("127.0.0.1",), "other": True}, "not among ours"),
    ],
    ids=["expired", "another host", "another authority"],
)
def test_what_is_wrong_with_a_certificate_is_named(
    authority: Authority, stack: ExitStack, tmp_path: Path, issue: dict[str, Any], words: str
) -> None:
    signer = Authority(tmp_path / "ca2") if issue.pop("other", False) else authority
    url = server(stack, signer.issue("wrong", *issue.pop("names"), begins=-9, **issue))
    destination = to(url, ca=authority.reference)
    with pytest.raises(Retry, match=words):
        deliver(destination, [instance(tmp_path / "s", 0, uid="1.2.80.1")])
    ticks = {t.name: t for t in destination.check()}
    assert (ticks["TLS valid"].ok, ticks["authenticated"].ok) == (False, None)
    assert words in ticks["TLS valid"].words


def test_a_peer_that_is_called_by_another_name(authority: Authority, stack: ExitStack, tmp_path: Path) -> None:
    url = server(stack, authority.issue("named", "pacs.example.org"))
    destination = to(url, ca=authority.reference, server_name="pacs.example.org")
    assert deliver(destination, [instance(tmp_path, 0, uid="1.2.80.1")])[0].outcome is Outcome.CONFIRMED
