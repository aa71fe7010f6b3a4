"""Channels against real servers: signed posts, mails over TLS, what is refused, what is tried again."""

from __future__ import annotations

import hashlib
import hmac
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from engine.channels.base import TEST
from engine.channels.email import Email
from engine.channels.webhook import Webhook
from engine.errors import Permanent, Retry
from engine.security.outward import Outward
from tests.connection.authority import Authority
from tests.monitoring.receivers import mail_server, only, receiver

LOCAL = Outward("127.0.0.0/8")
MESSAGE = {**TEST, "id": "m-1", "state": "firing", "words": "pacs has taken nothing", "details": {"times_told": 1}}


def test_a_post_is_signed_and_says_what_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    with receiver() as there:
        Webhook(name="hook", url=there.url, secret="env:HOOK_SECRET").tell(MESSAGE, LOCAL)
        ((headers, body),) = there.posts
    assert there.messages[0]["words"] == "pacs has taken nothing"
    parts = dict(p.split("=", 1) for p in headers["X-Axiom-Signature"].split(","))
    wanted = hmac.new(b"s3cret", f"{parts['t']}.".encode() + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(parts["v1"], wanted)
    assert abs(time.time() - int(parts["t"])) < 600
    assert headers["X-Axiom-Id"] == "m-1"
    assert b"s3cret" not in body


@pytest.mark.parametrize(("status", "error"), [(500, Retry), (503, Retry), (429, Retry), (408, Retry), (404, Permanent),
                                               (400, Permanent), (302, Permanent)])  # fmt: skip
def test_what_an_answer_means(status: int, error: type[Exception]):
    with receiver() as there:
        there.answer = status
        with pytest.raises(error, match=str(status)):
            Webhook(name="hook", url=there.url).tell(MESSAGE, LOCAL)


def test_this_machine_is_not_asked_unless_it_is_allowed():
    with receiver() as there:
        for url in (there.url, there.url.replace("127.0.0.1", "localhost"), "http://169.254.169.254/latest"):
            with pytest.raises(Permanent, match="AXIOM_ALLOWED_HOSTS"):
                Webhook(name="hook", url=url).tell(MESSAGE, Outward())
        assert there.posts == []
        (tick,) = Webhook(name="hook", url=there.url).check_with(Outward())
        assert (tick.ok, "AXIOM_ALLOWED_HOSTS" in tick.words) == (False, True)
        (tick,) = Webhook(name="hook", url=there.url).check_with(LOCAL)
        assert tick.ok
        assert there.messages[0]["state"] == "test"


def test_nobody_there_is_tried_again(free_port: int):
    with pytest.raises(Retry, match="cannot be reached"):
        Webhook(name="hook", url=f"http://127.0.0.1:{free_port}").tell(MESSAGE, LOCAL)


def test_a_webhook_knows_its_own_authority_and_shows_its_own_certificate(tmp_path: Path):
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs", "Hooks CA")
    server, client = theirs.issue("hooks.example", "hooks.example", "127.0.0.1"), ours.issue("axiom")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    context.load_verify_locations(ours.ca)
    context.verify_mode = ssl.CERT_REQUIRED

    def hook(**tls: str) -> Webhook:
        return Webhook.model_validate({"name": "hook", "url": there.url, "tls": tls})

    with receiver(context) as there:
        with pytest.raises(Retry, match="give the CA that signed it as `ca`"):
            hook().tell(MESSAGE, LOCAL)
        with pytest.raises(Retry, match=r"cannot be reached|certificate"):
            hook(ca=theirs.reference).tell(MESSAGE, LOCAL)  # it asks for ours
        hook(ca=theirs.reference, **client.fields).tell(MESSAGE, LOCAL)
        with pytest.raises(Retry, match="another host name"):
            hook(ca=theirs.reference, server_name="other.example", **client.fields).tell(MESSAGE, LOCAL)
        hook(ca=theirs.reference, server_name="hooks.example", **client.fields).tell(MESSAGE, LOCAL)
    assert len(there.posts) == 2


def mail(port: int, **more: Any) -> Email:
    fields = {"host": "127.0.0.1", "port": port, "sender": "axiom@example.org", "to": ["team@example.org"]}
    return Email.model_validate({"name": "team", **fields, **more})


def test_a_mail_says_what_it_is():
    with mail_server() as there:
        mail(there.port, security="none").tell({**MESSAGE, "words": "two\nlines\r\nBcc: a@b"}, LOCAL)
    (got,) = there.mails
    assert got["Subject"] == "[Axiom Flow] ALERT: two lines  Bcc: a@b"
    assert got["Bcc"] is None
    assert got["To"] == "team@example.org"
    assert "times_told: 1" in got.get_content()


def test_a_mail_server_that_says_no_is_tried_again():
    with mail_server() as there:
        there.code = 451
        with pytest.raises(Retry, match="451"):
            mail(there.port, security="none").tell(MESSAGE, LOCAL)
        with pytest.raises(Retry, match="cannot be used"):
            mail(there.port).tell(MESSAGE, LOCAL)  # it has no STARTTLS: nothing goes in the clear
    assert there.mails == []


def test_signing_in_needs_an_encrypted_way():
    with pytest.raises(ValueError, match="not encrypted"):
        mail(25, security="none", user="u", password="env:X")
    with pytest.raises(ValueError, match="needs a password"):
        mail(25, user="u")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1"]  # fmt: skip
    subprocess.run(argv, cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


def test_a_mail_over_starttls_by_a_user(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MAIL_PASSWORD", "pw-canary")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    options = {"tls_context": context, "require_starttls": True, "auth_required": True}
    with mail_server(**options, authenticator=only(b"axiom", b"pw-canary")) as there:
        with pytest.raises(Retry, match="certificate"):
            mail(there.port, user="axiom", password="env:MAIL_PASSWORD").tell(MESSAGE, LOCAL)
        known = {"user": "axiom", "password": "env:MAIL_PASSWORD", "ca": f"file:{certificate[0]}"}
        mail(there.port, **known).tell(MESSAGE, LOCAL)
        monkeypatch.setenv("MAIL_PASSWORD", "wrong-canary")
        with pytest.raises(Retry, match="535") as caught:
            mail(there.port, **known).tell(MESSAGE, LOCAL)
    assert "canary" not in str(caught.value)
    assert len(there.mails) == 1
