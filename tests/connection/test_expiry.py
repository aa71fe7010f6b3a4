"""The end of a certificate is said in time: by the doctor, in the status, in the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.cli.doctor import examine
from engine.connection.expiry import look
from engine.destinations.dimse import Dimse
from engine.jobs.certificate_work import watch_certificates
from engine.jobs.context import Context
from engine.operations import Operations
from engine.settings import Settings
from engine.sources.dimse_listener import DimseListener
from tests.connection.authority import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_what_ends_soon_has_words_and_stands_first(tmp_path: Path, authority: Authority) -> None:
    listener = DimseListener(name="in", tls=authority.issue("listener", ends=12.5).fields)
    plain = Dimse(name="out", host="pacs", port=104, ae_title="PACS")
    pacs = plain.model_copy(update={"tls": None})
    sender = Dimse(name="s", host="pacs", port=104, ae_title="PACS", tls={"ca": authority.reference})
    missing = Dimse(name="m", host="pacs", port=104, ae_title="PACS", tls={"ca": f"file:{tmp_path / 'none'}"})
    found = look([("sources/in", listener), ("destinations/out", pacs), ("d/s", sender), ("d/m", missing)], 30)
    assert [(one.where, one.days) for one in found] == [("d/m", None), ("sources/in", 12), ("d/s", 29)]
    assert "cannot be read" in found[0].words
    assert found[1].subject == "CN=listener,O=Axiom Flow Tests" and "in 12 days" in found[1].words
    assert [one.words for one in look([("d/s", sender)], 20)] == [""]
    later = look([("sources/in", listener)], 30, datetime.now(UTC) + timedelta(days=20))
    assert "has ended on" in later[0].words and later[0].days == -8


def test_doctor_status_and_log_say_it(tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(home=tmp_path / "home")
    settings.run_dir.mkdir(parents=True)
    settings.spool.mkdir()
    tls = authority.issue("ending", ends=3.5).fields
    document = {"sources": [{"name": "in", "kind": "dimse_listener", "enabled": True, "tls": tls}]}
    operations = Operations(settings)
    operations.store.save(document, author="ada")
    for _ in range(2):  # a minute later it is not said again
        watch_certificates(Context(settings))
    assert caplog.text.count("certificate of sources/in: CN=ending,O=Axiom Flow Tests") == 1
    [shown] = operations.status()["certificates"]
    assert shown["where"] == "sources/in" and shown["days"] == 3 and "in 3 days" in shown["words"]
    with_api = Settings(home=settings.home, tls_certificate=tls["certificate"], tls_key=tls["private_key"])
    assert [one.what for one in examine(with_api) if one.what.startswith("certificate")] == [
        "certificate of API", "certificate of sources/in",
    ]  # fmt: skip
    [finding] = [one for one in examine(settings) if one.what.startswith("certificate")]
    assert finding.what == "certificate of sources/in" and finding.ok is False and "ends on" in finding.words
