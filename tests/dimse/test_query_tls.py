"""Query and retrieve over mutual TLS with Orthanc: C-FIND, C-GET, and C-MOVE to a listener that speaks TLS too."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.errors import Retry
from engine.sources._query import Query
from engine.sources.dimse_qr import DimseQr
from tests.connection.authority import Authority
from tests.dimse.archives import same, studies
from tests.dimse.support import FolderIntake, running
from tests.peers import dcmtk, free_port, orthanc, wait_until

STOP = threading.Event()


def test_an_archive_is_asked_and_sends_over_mutual_tls(tmp_path: Path) -> None:
    authority, back = Authority(tmp_path / "ca"), free_port()
    server, client, ours = (authority.issue(name) for name in ("archive", "axiom", "listener"))
    files = studies(tmp_path / "sent")["JAPANESE"]
    settings = {
        "DicomTlsEnabled": True, "DicomTlsCertificate": str(server.certificate), "DicomTlsPrivateKey": str(server.key),
        "DicomTlsTrustedCertificates": str(authority.ca), "DicomTlsRemoteCertificateRequired": True,
        "DicomModalities": {"axiom": {"AET": "AXIOM", "Host": "127.0.0.1", "Port": back, "UseDicomTls": True}},
        "DicomAlwaysAllowFind": True, "DicomAlwaysAllowGet": True, "DicomAlwaysAllowMove": True, "DefaultEncoding": "Utf8",
    }  # fmt: skip
    tls = {"ca": authority.reference, **client.fields}
    intake, moved = FolderIntake(tmp_path / "got"), FolderIntake(tmp_path / "moved")
    for one in (intake, moved):
        one.folder.mkdir()
    with orthanc(tmp_path / "orthanc", **settings) as (port, _):
        dcmtk(
            "storescu", "-R", "-aec", "ORTHANC", "+tls", client.key, client.certificate, "+cf", authority.ca,
            "127.0.0.1", port, *files,
        )  # fmt: skip
        given = {"name": "archive", "host": "127.0.0.1", "port": port, "ae_title": "ORTHANC", "tls": tls}
        source = DimseQr(**given)
        [match] = source.query(Query("study", {"PatientName": "*山田*"}), STOP)
        assert source.retrieve(match, intake, STOP, lambda *_: None).whole
        assert same(intake.files, files)
        ticks = {tick.name: tick for tick in source.check()}
        assert all(tick.ok for tick in ticks.values()), ticks
        assert "certificate is valid until" in ticks["TLS valid"].words
        server_tls = {**ours.fields, "client_ca": authority.reference}
        with running(moved.folder, moved, port=back, tls=server_tls):
            assert DimseQr(**given, retrieve_by="move").retrieve(match, moved, STOP, lambda *_: None).whole
            wait_until(lambda: moved.all_sealed, 60)
        assert same(moved.files, files)
        assert {b.association.source for b in moved.batches} == {"archive"}
        assert "axiom" not in moved.batches[0].association.tls_subject, "the archive sends, not we"
        with pytest.raises(Retry, match="No association with ORTHANC"):
            list(DimseQr(**given | {"tls": None, "acse_timeout": 2}).query(Query("study"), STOP))
        wrong = Authority(tmp_path / "other", "Another CA")
        with pytest.raises(Retry, match=r"TLS with 127\.0\.0\.1 failed"):
            list(DimseQr(**given | {"tls": tls | {"ca": wrong.reference}}).query(Query("study"), STOP))
