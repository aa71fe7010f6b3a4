from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

from engine.errors import Permanent, Retry
from engine.security.outward import Outward, OutwardTransport


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302 if self.path == "/away" else 200)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data")
            self.end_headers()
            self.wfile.write(self.headers["Host"].encode())

        def log_message(self, *_: Any) -> None:
            """Silent."""

    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join(20)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]",
        "169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]", "224.0.0.1",
        "255.255.255.255", "100.100.100.200", "[fd00:ec2::254]",
    ],
)  # fmt: skip
def test_this_machine_and_its_cloud_are_not_asked(host: str) -> None:
    with pytest.raises(Permanent, match="AXIOM_ALLOWED_HOSTS"):
        Outward().check(f"http://{host}/")


@pytest.mark.parametrize("host", ["10.1.2.3", "192.168.0.1", "172.16.0.1", "8.8.8.8", "[fd12:3456::1]", "[2001:db8::1]"])
def test_the_hospitals_networks_are_what_it_is_for(host: str) -> None:
    assert Outward().check(f"https://{host}/x").port == 443


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("127.0.0.0/8", "http://127.0.0.1:8080"), ("localhost, ::1", "http://localhost"), ("::1", "http://[::1]"),
        ("169.254.169.254", "http://169.254.169.254"), ("127.0.0.1", "http://[::ffff:127.0.0.1]"),
    ],
)  # fmt: skip
def test_what_is_named_is_asked(allowed: str, url: str) -> None:
    assert Outward(allowed).check(url).addresses


@pytest.mark.parametrize(
    "url", ["ftp://10.0.0.1", "file:///etc/passwd", "10.0.0.1", "http://", "http://a:b@10.0.0.1", "http://10.0.0.1:99999"]
)
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises(Permanent) as told:
        Outward().check(url)
    assert "a:b" not in str(told.value)


def test_a_name_that_is_not_found_is_tried_again_later() -> None:
    with pytest.raises(Retry, match="not found"):
        Outward().check("http://no-such-host.invalid")


def test_a_client_asks_the_address_that_was_checked_under_its_name_and_checks_redirects(server: HTTPServer) -> None:
    port = server.server_address[1]
    guard = Outward("127.0.0.1")
    with httpx.Client(transport=OutwardTransport(guard), follow_redirects=True) as client:
        assert client.get(f"http://127.0.0.1:{port}/").text == f"127.0.0.1:{port}"
        with pytest.raises(Permanent, match=r"169\.254\.169\.254"):
            client.get(f"http://127.0.0.1:{port}/away")
    with httpx.Client(transport=OutwardTransport(Outward())) as client, pytest.raises(Permanent):
        client.get(f"http://127.0.0.1:{port}/")
