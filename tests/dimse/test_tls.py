"""DICOM over TLS, with DCMTK both ways; and every way in which a handshake fails, told apart in words."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from engine.connection.tls import TlsClient
from engine.destinations.dimse import Dimse
from engine.dicom.network.command import C_STORE_RSP, Command
from engine.dicom.network.messages import Messages
from engine.dicom.network.negotiation import accept
from engine.dicom.network.pdu import Associate
from engine.dicom.network.wire import Wire
from engine.errors import Retry
from engine.model import Outcome, Receipt
from tests.connection.authority import Authority, Pair
from tests.dimse.support import collect, data_set_of, made, part10, pydicom_files, running, scripted
from tests.peers import dcmtk, storescp, storescu, wait_until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "Another CA")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Pair:
    return authority.issue("server")


@pytest.fixture(scope="module")
def client(authority: Authority) -> Pair:
    return authority.issue("CT scanner 01", file="client")


@pytest.fixture
def files() -> list[Path]:
    return [f for f in pydicom_files() if f.name in ("CT_small.dcm", "MR_small.dcm")]


def to(port: int, tls: dict[str, Any] | None, host: str = "127.0.0.1", **fields: Any) -> Dimse:
    return Dimse(name="out", host=host, port=port, ae_title="AXIOM", tls=tls, **({"connect_timeout": 20} | fields))


def deliver(destination: Dimse, files: list[Path]) -> list[Receipt]:
    receipts, report = collect()
    destination.deliver([part10(f, i) for i, f in enumerate(files)], report, threading.Event())
    return receipts


def why(destination: Dimse) -> str:
    """The sentence with which a delivery fails."""
    with pytest.raises(Retry) as caught:
        deliver(destination, [f for f in pydicom_files() if f.name == "CT_small.dcm"])
    return str(caught.value)


def _pixels(file: Path) -> tuple[str, bytes]:
    ds = dcmread(file, force=True)
    return str(ds.SOPInstanceUID), bytes(ds.PixelData)


def listening(folder: Path, server: Pair, **tls: Any) -> Any:
    return running(folder, tls=server.fields | {"handshake_seconds": 20} | tls)


@pytest.mark.parametrize("mutual", [False, True], ids=["TLS", "mutual TLS"])
def test_dcmtk_sends_to_us(
    tmp_path: Path, authority: Authority, server: Pair, client: Pair, files: list[Path], mutual: bool
) -> None:
    with listening(tmp_path / "in", server, client_ca=authority.reference if mutual else None) as listener:
        shown = ["+tls", client.key, client.certificate] if mutual else ["+tla"]
        storescu(files, listener.port, options=[*map(str, shown), "+cf", str(authority.ca)])
        wait_until(lambda: listener.intake.all_sealed and len(listener.intake.files) == len(files))
        assert sorted(map(_pixels, listener.intake.files)) == sorted(
            map(_pixels, files)
        )  # storescu writes headers anew
        association = listener.intake.batches[0].association
        assert association.tls_subject == ("CN=CT scanner 01,O=Axiom Flow Tests" if mutual else "")


@pytest.mark.parametrize("mutual", [False, True], ids=["TLS", "mutual TLS"])
def test_we_send_to_dcmtk(
    tmp_path: Path, authority: Authority, server: Pair, client: Pair, files: list[Path], mutual: bool
) -> None:
    options = ["+tls", server.key, server.certificate, "-xs", *(["+cf", authority.ca, "-rc"] if mutual else ["-ic"])]
    with storescp(tmp_path / "pacs", options=list(map(str, options))) as pacs:
        tls = {"ca": authority.reference} | (client.fields if mutual else {})
        receipts = deliver(to(pacs.port, tls), files)
        assert [r.outcome for r in receipts] == [Outcome.CONFIRMED] * len(files)
        assert sorted(map(data_set_of, pacs.files)) == sorted(map(data_set_of, files))
        ticks = {t.name: t for t in to(pacs.port, tls).check()}
        assert ticks["TLS"].ok and "valid until" in ticks["TLS"].words and ticks["C-ECHO"].ok
        if mutual:
            assert "it wants a client certificate" in why(to(pacs.port, {"ca": authority.reference}))


def test_no_tls_below_1_2_and_no_weak_cipher(tmp_path: Path, authority: Authority, server: Pair) -> None:
    with listening(tmp_path / "in", server) as listener:
        for version, ciphers in (
            (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
            (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256"),
        ):
            weak = ssl.create_default_context(cafile=str(authority.ca))
            weak.minimum_version, weak.maximum_version = ssl.TLSVersion.TLSv1, version
            weak.set_ciphers(ciphers)
            with (
                socket.create_connection(("127.0.0.1", listener.port), 20) as plain,
                pytest.raises((ssl.SSLError, ConnectionError)),
            ):
                weak.wrap_socket(plain, server_hostname="127.0.0.1")
        wait_until(lambda: listener.status["refused"] == 2)


def test_why_our_side_does_not_trust(tmp_path: Path, authority: Authority, other: Authority, files: list[Path]) -> None:
    expired = authority.issue("expired", begins=-10, ends=-1)
    misnamed = authority.issue("misnamed", "pacs.example.org")
    with (
        listening(tmp_path / "a", expired) as old,
        listening(tmp_path / "b", misnamed) as named,
        listening(tmp_path / "c", authority.issue("good")) as good,
    ):
        assert "has expired" in why(to(old.port, {"ca": authority.reference}))
        assert "another address" in why(to(named.port, {"ca": authority.reference}))
        assert "another host name" in why(to(named.port, {"ca": authority.reference}, host="localhost"))
        assert "an authority that is not among ours" in why(to(good.port, {"ca": other.reference}))
        assert "an authority that is not among ours" in why(to(good.port, {}))
        for tls in ({"server_name": "pacs.example.org"}, {"check_host_name": False}, {"ca": None, "verify": False}):
            assert deliver(to(named.port, {"ca": authority.reference} | tls), files)[0].outcome is Outcome.CONFIRMED
        assert "TLS" not in {t.name for t in to(good.port, None).check()}
        [failed] = [t for t in to(old.port, {"ca": authority.reference}).check() if t.ok is False]
        assert failed.name == "TLS" and "has expired" in failed.words
        wait_until(lambda: "does not accept our certificate" in str(old.status["last_error"]))


def test_why_the_peer_does_not_trust_us(
    tmp_path: Path, authority: Authority, other: Authority, server: Pair, client: Pair
) -> None:
    expired = authority.issue("expired client", begins=-10, ends=-1, file="expired-client")
    with listening(tmp_path / "in", server, client_ca=authority.reference) as listener:
        trusts = {"ca": authority.reference}
        assert "it wants a client certificate" in why(to(listener.port, trusts))
        wait_until(lambda: "it sent no client certificate" in str(listener.status["last_error"]))
        assert "does not know the authority" in why(to(listener.port, trusts | other.issue("stranger").fields))
        wait_until(lambda: "an authority that is not among ours" in str(listener.status["last_error"]))
        assert "it has expired" in why(to(listener.port, trusts | expired.fields))
        wait_until(lambda: "has expired" in str(listener.status["last_error"]))
        assert deliver(to(listener.port, trusts | client.fields), [pydicom_files()[0]])
        assert listener.status["refused"] == 3


def test_a_peer_without_tls_is_named_on_both_sides(tmp_path: Path, authority: Authority, server: Pair) -> None:
    ct = next(f for f in pydicom_files() if f.name == "CT_small.dcm")
    with running(tmp_path / "plain") as plain, storescp(tmp_path / "pacs") as pacs:
        assert "it speaks no TLS on this port" in why(to(plain.port, {"ca": authority.reference}))
        assert "it speaks no TLS on this port" in why(to(pacs.port, {"ca": authority.reference}))
    with listening(tmp_path / "in", server) as listener:
        assert storescu([ct], listener.port, check=False).returncode != 0
        wait_until(lambda: "it speaks no TLS, and nothing else is taken here" in str(listener.status["last_error"]))
        assert "association" in why(to(listener.port, None))


def test_a_stalled_handshake_is_ended_and_keeps_nobody_waiting(
    tmp_path: Path, authority: Authority, server: Pair, files: list[Path]
) -> None:
    """The peer that says nothing, and the one that drips single bytes: the limit is on the whole handshake."""
    hello = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="x").do_handshake()
    bytes_of_hello = hello.read()
    with listening(tmp_path / "in", server, handshake_seconds=3) as listener:
        silent = [socket.create_connection(("127.0.0.1", listener.port), 20) for _ in range(8)]
        dripping = socket.create_connection(("127.0.0.1", listener.port), 20)
        receipts = deliver(to(listener.port, {"ca": authority.reference}), files)
        assert [r.outcome for r in receipts] == [Outcome.CONFIRMED] * len(files)
        ended = _drip(dripping, bytes_of_hello)
        assert ended, "a handshake of single bytes was not ended"
        for one in silent:
            assert one.recv(1) == b""  # closed, not left standing
            one.close()
        wait_until(lambda: listener.status["refused"] == 9)
        assert "stand still" in str(listener.status["last_error"])


def _drip(sock: socket.socket, data: bytes) -> bool:
    sock.settimeout(0.2)
    with sock:
        for byte in data:
            try:
                sock.send(bytes([byte]))
                if sock.recv(1) == b"":
                    return True
            except TimeoutError:
                continue
            except OSError:
                return True
    return False


def test_a_server_that_stalls_the_handshake_is_left(authority: Authority) -> None:
    over = threading.Event()
    with scripted(lambda sock: bool(over.wait(30)) and None) as port:
        try:
            assert "stand still for 1 seconds" in why(to(port, {"ca": authority.reference}, connect_timeout=1))
        finally:
            over.set()


def test_a_certificate_is_renewed_while_running(
    tmp_path: Path, authority: Authority, other: Authority, files: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Rotation by rename, as Kubernetes and certbot do it; half a rotation changes nothing."""
    first, second = authority.issue("first"), other.issue("second")
    now = Pair(tmp_path / "now.pem", tmp_path / "now.key")

    def put(source: Path, target: Path) -> None:
        new = target.with_suffix(".new")
        new.write_bytes(source.read_bytes())
        new.rename(target)

    put(first.certificate, now.certificate)
    put(first.key, now.key)
    with listening(tmp_path / "in", now) as listener:
        shown = _shown(listener.port)
        assert deliver(to(listener.port, {"ca": authority.reference}), files)
        put(second.certificate, now.certificate)  # the old key with the new certificate
        assert _shown(listener.port) == shown and "does not belong to" in caplog.text
        put(second.key, now.key)
        assert _shown(listener.port) != shown
        assert deliver(to(listener.port, {"ca": other.reference}), files)
        assert "not among ours" in why(to(listener.port, {"ca": authority.reference}))
        now.key.unlink()  # gone altogether: what is in use stays
        assert deliver(to(listener.port, {"ca": other.reference}), files)


def _shown(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=20)


@pytest.mark.parametrize("where", ["env", "one file", "password"])
def test_where_certificates_may_be(
    tmp_path: Path, authority: Authority, files: list[Path], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = authority.issue("somewhere", password="seven" if where == "password" else "", file=where.replace(" ", "-"))
    monkeypatch.setenv("TEST_CERTIFICATE", pair.certificate.read_text())
    monkeypatch.setenv("TEST_KEY", pair.key.read_text())
    monkeypatch.setenv("TEST_PASSWORD", "seven")
    both = tmp_path / "both.pem"
    both.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    tls = {
        "env": {"certificate": "env:TEST_CERTIFICATE", "private_key": "env:TEST_KEY"},
        "one file": {"certificate": f"file:{both}"},
        "password": pair.fields | {"key_password": "env:TEST_PASSWORD"},
    }[where]
    with running(tmp_path / "in", tls=tls) as listener:
        assert deliver(to(listener.port, {"ca": authority.reference}), files[:1])[0].outcome is Outcome.CONFIRMED


def _swapped(pair: Pair, other: Pair) -> dict[str, str]:
    return {"certificate": f"file:{pair.certificate}", "private_key": f"file:{other.key}"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (lambda a, f: _swapped(a.issue("one"), a.issue("two")), "does not belong to the certificate"),
        (lambda a, f: {"certificate": f"file:{f / 'none.pem'}"}, "cannot be read: No such file"),
        (lambda a, f: {"certificate": a.reference}, "is not a private key in PEM"),
        (lambda a, f: {"ca": f"file:{a.issue('keyed').key}"}, "holds no certificate in PEM"),
        (lambda a, f: a.issue("locked", password="seven").fields, "needs a password"),
        (
            lambda a, f: a.issue("locked2", password="seven").fields | {"key_password": "env:HOME"},
            "password is not right",
        ),
        (lambda a, f: a.issue("open").fields | {"key_password": "env:HOME"}, "has no password"),
    ],
)
def test_what_is_wrong_with_our_own_files(
    tmp_path: Path, authority: Authority, fields: Callable[[Authority, Path], dict[str, str]], words: str
) -> None:
    tls = TlsClient(**fields(authority, tmp_path))
    with pytest.raises(Retry, match=words):
        tls.context()
    with scripted(lambda sock: None) as port:
        assert words in why(to(port, tls.model_dump()))


def test_the_listener_says_what_is_wrong_with_its_certificate(
    tmp_path: Path, authority: Authority, server: Pair
) -> None:
    expired = authority.issue("expired server", begins=-10, ends=-1, file="expired-server")
    with listening(tmp_path / "in", server, client_ca=authority.reference) as listener:
        ticks = {t.name: t for t in listener.config.check()}
        assert ticks["certificate"].ok and "valid until" in ticks["certificate"].words
        assert ticks["port"].ok is True and "held by a listener of Axiom Flow" in ticks["port"].words
        bad = listener.config.model_copy(update={"tls": listener.config.tls.model_copy(update=expired.fields)})
        [tick] = [t for t in bad.check() if t.name == "certificate"]
        assert tick.ok is False and "has ended on" in tick.words


def test_tls_ends_with_a_close_notify(tmp_path: Path, authority: Authority, server: Pair) -> None:
    """A peer that insists on it (OpenSSL 3 does unless told) must not take the end for an attack."""
    with listening(tmp_path / "in", server, handshake_seconds=20) as listener:
        strict = ssl.create_default_context(cafile=str(authority.ca))
        with (
            socket.create_connection(("127.0.0.1", listener.port), 20) as plain,
            strict.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False) as secure,
        ):
            secure.sendall(
                b"\x05\0\0\0\0\x04\0\0\0\0"
            )  # A-RELEASE-RQ out of turn: answered with an A-ABORT, and the end
            assert secure.recv(10)[0] == 7
            assert secure.recv(1) == b""


def test_stopping_cuts_a_tls_association_between_images(tmp_path: Path, authority: Authority, server: Pair) -> None:
    with listening(tmp_path / "in", server) as listener:
        context = TlsClient(ca=authority.reference).context()
        plain = socket.create_connection(("127.0.0.1", listener.port), 20)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
            began = time.monotonic()
            listener.end(60)
            assert time.monotonic() - began < 60
            secure.settimeout(20)
            with contextlib.suppress(OSError):
                assert secure.recv(1) == b""


def test_echoscu_over_tls(tmp_path: Path, authority: Authority, server: Pair) -> None:
    with listening(tmp_path / "in", server) as listener:
        dcmtk("echoscu", "+tla", "+cf", authority.ca, "-aec", "AXIOM", "127.0.0.1", listener.port)


def test_a_refusal_is_heard_although_the_peer_closes_while_we_send(
    tmp_path: Path, authority: Authority, server: Pair
) -> None:
    """A700H and the end, in the middle of an image: what it said before counts, over TLS as without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)

    def script(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            wire = Wire(secure, 20)
            _, length = wire.head()
            answer, _ = accept(Associate.decode(wire.exactly(length)), 16384)
            wire.send(answer.encode())
            messages = Messages(wire, 16384, 16384)
            context_id, command = messages.command()
            said = Command(
                C_STORE_RSP, responded_to=command.message_id, sop_class_uid=command.sop_class_uid,
                sop_instance_uid=command.sop_instance_uid, status=0xA700,
            )  # fmt: skip
            messages.send(context_id, said)

    with scripted(script) as port:
        receipts, report = collect()
        image = made(0, data=b"\x08\0\x05\0CS\0\0" + bytes(32 << 20))
        with pytest.raises(Retry):
            to(port, {"ca": authority.reference}).deliver([image, image], report, threading.Event())
    assert [(r.outcome, r.code) for r in receipts] == [(Outcome.RETRY, "0xA700")]
