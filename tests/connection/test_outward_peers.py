"""Peers by URL are guarded where they are connected to: by the client, at the token endpoint, by the check before saving."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from engine.connection.credentials import Authentication
from engine.connection.http import HttpClient, HttpSettings
from engine.destinations.stow_rs import StowRs
from engine.errors import Permanent, Retry
from engine.security.google import google_tokens
from engine.security.outward import use_outward
from engine.settings import Settings
from engine.sources.dicomweb import DicomWeb
from engine.store import Store
from tests.peers import free_port


class Site:
    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[tuple[str, str]] = []
        """Which server was asked (by its address), and the Host header that came."""


@contextmanager
def serving(site: Site, address: str) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append((address, self.headers["Host"]))
            self.send_response(204)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = HTTPServer((address, site.port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join(60)
        server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    """Two servers of this machine on one port: 127.0.0.1, which has a secret, and 127.0.0.2, which stands for a PACS."""
    found = Site(free_port())
    with serving(found, "127.0.0.1"), serving(found, "127.0.0.2"):
        yield found


class Names:
    """A name service that somebody else runs: it may say another thing each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        rest = self.answers.get(host)
        if rest is None:
            return self._real(host, port, *args, **kwargs)
        now = rest.pop(0) if len(rest) > 1 else rest[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in now]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


def test_no_peer_by_url_is_on_this_machine_unless_the_setting_says_so(site: Site) -> None:
    use_outward("")
    url = f"http://127.0.0.1:{site.port}/dicom-web"
    with HttpClient(url) as client, pytest.raises(Permanent, match="AXIOM_ALLOWED_HOSTS"):
        client.request("GET", "studies")
    for peer in (StowRs(name="pacs", url=url), DicomWeb(name="web", url=url)):
        first, *others = peer.check()
        assert (first.name, first.ok, "AXIOM_ALLOWED_HOSTS" in first.words) == ("name resolves", False, True)
        assert [t.ok for t in others] == [None] * len(others)  # not even whether the port is open is told
    assert site.asked == []
    use_outward("127.0.0.1")
    with HttpClient(url) as client:
        assert client.request("GET", "studies").status_code == 204
    assert site.asked == [("127.0.0.1", f"127.0.0.1:{site.port}")]


def test_a_name_that_answers_otherwise_a_moment_later_gains_nothing(site: Site, names: Names) -> None:
    use_outward("127.0.0.2")
    names.answers["pacs.example"] = [["127.0.0.2"], ["127.0.0.1"]]
    with HttpClient(f"http://pacs.example:{site.port}") as client:
        for _ in range(3):
            client.request("GET", "studies")
    assert site.asked == [("127.0.0.2", f"pacs.example:{site.port}")] * 3
    with HttpClient(f"http://pacs.example:{site.port}") as client, pytest.raises(Permanent, match=r"127\.0\.0\.1"):
        client.request("GET", "studies")


def test_one_bad_address_among_several_is_enough(site: Site, names: Names) -> None:
    use_outward("127.0.0.2")
    names.answers["pacs.example"] = [["127.0.0.2", "127.0.0.1"]]
    with HttpClient(f"http://pacs.example:{site.port}") as client, pytest.raises(Permanent):
        client.request("GET", "studies")
    assert site.asked == []


def test_of_several_addresses_the_one_that_answers_is_taken(site: Site, names: Names) -> None:
    use_outward("127.0.0.0/8")
    names.answers["pacs.example"] = [["127.0.0.3", "127.0.0.2"]]
    with HttpClient(f"http://pacs.example:{site.port}") as client:
        client.request("GET", "studies")
    assert [address for address, _ in site.asked] == ["127.0.0.2"]
    names.answers["away.example"] = [["127.0.0.3", "127.0.0.4"]]
    with HttpClient(f"http://away.example:{site.port}") as client, pytest.raises(Retry, match="refused"):
        client.request("GET", "studies")


def test_a_token_endpoint_is_guarded_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret-words")
    url = f"http://127.0.0.1:{site.port}/token"
    use_outward("127.0.0.2")
    signed = Authentication(method="oauth", token_url=url, client_id="axiom", client_secret="env:SECRET")
    with HttpClient(f"http://127.0.0.2:{site.port}", signed) as client, pytest.raises(Permanent, match="ALLOWED_HOSTS"):
        client.request("GET", "studies")
    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"type": "service_account", "client_email": "a@example.org", "private_key": key, "token_uri": url}
    with pytest.raises(Permanent, match="ALLOWED_HOSTS"):
        google_tokens(json.dumps(account), ("scope",)).token()
    assert site.asked == []


def test_a_proxy_is_an_address_that_is_asked(site: Site, names: Names) -> None:
    use_outward("127.0.0.2")
    by = HttpSettings(proxy=f"http://127.0.0.1:{site.port}")
    with pytest.raises(Permanent, match="ALLOWED_HOSTS"):
        HttpClient("http://pacs.invalid", settings=by)
    names.answers["proxy.example"] = [["127.0.0.2"], ["127.0.0.1"]]
    by = HttpSettings(proxy=f"http://proxy.example:{site.port}")
    with HttpClient("http://pacs.invalid", settings=by) as client:  # only the proxy knows this name
        client.request("GET", "studies")
    assert site.asked == [("127.0.0.2", "pacs.invalid")]
    names.answers["proxy.example"] = [["127.0.0.2"]]
    with HttpClient("http://169.254.169.254", settings=by) as client, pytest.raises(Permanent, match=r"169\.254"):
        client.request("GET", "latest")


def test_the_setting_holds_from_the_opening_of_the_store_on(site: Site, home: Any) -> None:
    for allowed, works in (("", False), ("127.0.0.1", True)):
        Store(Settings(home=home, allowed_hosts=allowed)).close()
        with HttpClient(f"http://127.0.0.1:{site.port}") as client:
            if works:
                assert client.request("GET", "studies").status_code == 204
            else:
                with pytest.raises(Permanent):
                    client.request("GET", "studies")
