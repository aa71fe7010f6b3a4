"""Google Healthcare as a destination, against the double (tests/doubles/google_healthcare.py) over a real Orthanc."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine.destinations.google_healthcare import GoogleHealthcare
from engine.errors import Permanent, Retry
from engine.model import Outcome
from tests.destinations.support import deliver, instance, instances
from tests.doubles.google_healthcare import GoogleHealthcare as Double
from tests.doubles.google_healthcare import google_healthcare
from tests.doubles.google_tokens import GoogleTokens
from tests.doubles.server import Answer


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    with google_healthcare(tmp_path_factory.mktemp("google")) as double:
        yield double


@pytest.fixture
def double(running: Double) -> Double:
    running.next.clear()
    running.asked.clear()
    return running


def destination(double: Double, folder: Path, **more: object) -> GoogleHealthcare:
    key = double.tokens.key_file(folder)
    fields = {"project": "p", "location": "europe-west3", "dataset": "d", "dicom_store": "s", "endpoint": double.url}
    return GoogleHealthcare.model_validate({"name": "google", "service_account": f"file:{key}", **fields, **more})


def test_the_same_again_is_confirmed_and_other_bytes_are_refused(double: Double, tmp_path: Path) -> None:
    to = destination(double, tmp_path)
    some = [instance(tmp_path / "s", i, uid=f"1.2.70.{i + 1}") for i in range(3)]
    assert [r.outcome for r in deliver(to, some)] == [Outcome.CONFIRMED] * 3
    other = instance(tmp_path / "s", 9, uid="1.2.70.2", pixels=b"\3\4" * 50)
    receipts = {r.index: r for r in deliver(to, [*some, other])}
    assert [receipts[i].outcome for i in range(3)] == [Outcome.CONFIRMED] * 3
    assert receipts[9].outcome is Outcome.REFUSED
    assert receipts[9].code == "0x0110"
    assert "checksum mismatch" in receipts[9].words


def test_other_bytes_replace_what_is_there_when_so_configured(double: Double, tmp_path: Path) -> None:
    older = instance(tmp_path / "s", 0, uid="1.2.71.1")
    deliver(destination(double, tmp_path), [older])
    newer = instance(tmp_path / "s", 1, uid="1.2.71.1", pixels=b"\7\7" * 50)
    [receipt] = deliver(destination(double, tmp_path, same_uids="replace"), [newer])
    assert receipt.outcome is Outcome.CONFIRMED
    token = double.tokens.given[-1]
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/dicom; transfer-syntax=*"}
    got = httpx.get(receipt.location, headers=headers)
    assert got.content.endswith(b"\7\7" * 50)


def test_what_google_cannot_read_is_refused_alone(double: Double, tmp_path: Path) -> None:
    good, bad = instance(tmp_path / "s", 0, uid="1.2.72.1"), instance(tmp_path / "s", 1, uid="1.2.72.2")
    piece = bad.data_set.pieces[0]
    piece.path.write_bytes(b"\0" * piece.path.stat().st_size)
    receipts = {r.index: r for r in deliver(destination(double, tmp_path), [good, bad])}
    assert receipts[0].outcome is Outcome.CONFIRMED
    assert receipts[1].outcome is Outcome.REFUSED
    assert "invalid" in receipts[1].words


def test_a_token_is_used_again_and_fetched_once_more_when_refused(double: Double, tmp_path: Path) -> None:
    to = destination(double, tmp_path)
    some = [instance(tmp_path / "s", i, uid=f"1.2.73.{i + 1}") for i in range(2)]
    deliver(to, some[:1])
    before = len(double.tokens.given)
    deliver(to, some[:1])
    assert len(double.tokens.given) == before
    double.tokens.expire()
    assert [r.outcome for r in deliver(to, some)] == [Outcome.CONFIRMED] * 2
    assert len(double.tokens.given) == before + 1


def test_quota_is_waited_for_as_long_as_google_asks(double: Double, tmp_path: Path) -> None:
    double.quota_exceeded(retry_after="17")
    with pytest.raises(Retry, match="429 Too Many Requests: Quota exceeded") as caught:
        deliver(destination(double, tmp_path), instances(tmp_path / "s", 1))
    assert (caught.value.code, caught.value.after) == ("429", 17.0)


def test_a_store_that_is_not_there_and_a_key_of_another_account(double: Double, tmp_path: Path) -> None:
    some = instances(tmp_path / "s", 1)
    with pytest.raises(Permanent, match=r"404 Not Found.*not found"):
        deliver(destination(double, tmp_path, dicom_store="other"), some)
    stranger = GoogleTokens(account="stranger")
    stranger.url = double.tokens.url
    key = stranger.key_file(tmp_path / "stranger")
    with pytest.raises(Permanent, match=r"Google gives no token.*invalid_grant"):
        deliver(destination(double, tmp_path, service_account=f"file:{key}"), some)
    (tmp_path / "no-key").write_text('{"private_key": "canary-key"}')
    with pytest.raises(Permanent, match="not the service account's key") as caught:
        deliver(destination(double, tmp_path, service_account=f"file:{tmp_path / 'no-key'}"), some)
    assert "canary" not in str(caught.value)


def test_the_check_tells_how_far_it_comes(double: Double, tmp_path: Path) -> None:
    ticks = {t.name: t.ok for t in destination(double, tmp_path).check()}
    assert ticks == {
        "name resolves": True, "port open": True, "TLS valid": None, "authenticated": True, "write right": True,
    }  # fmt: skip
    double.next.append(Answer(403, b'{"error": {"code": 403, "message": "Permission denied", "status": "PERMISSION_DENIED"}}'))
    double.next.append(Answer(403, b'{"error": {"code": 403, "message": "Permission denied", "status": "PERMISSION_DENIED"}}'))
    ticks = {t.name: (t.ok, t.words) for t in destination(double, tmp_path).check()}
    assert ticks["authenticated"][0] is True
    assert ticks["write right"][0] is False
    assert "Permission denied" in ticks["write right"][1]
