"""Tables of the command: whatever the terminal's width, an id can be copied and a reason be read."""

from __future__ import annotations

import pytest

from engine.cli.show import table

ROW = {"id": "20261124T145433Z-0123456789abcdef-pacs", "count": 3, "reason": "PatientID is longer than the VR allows " * 4}


def test_in_a_narrow_terminal_nothing_is_cut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table([ROW])
    shown = capsys.readouterr().out
    assert ROW["id"] in shown
    assert shown.replace("\n", " ").split().count("longer") == 4
    assert "…" not in shown


def test_a_pipe_gets_one_line_a_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table([ROW])
    assert len(capsys.readouterr().out.splitlines()) == 2
