"""`axiom up` as a whole: what it starts, that it says so, watches it, and leaves nothing behind however it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.process import pid_alive
from tests.peers import accepts, echoscu, wait_until
from tests.running import Axiom, running_axiom

LISTENER = "sources:\n- {{name: modalities, kind: dimse_listener, port: {port}}}\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Axiom]:
    with running_axiom(tmp_path_factory.mktemp("up") / "home") as axiom:
        axiom.apply(LISTENER.format(port=axiom.dimse_port))
        wait_until(lambda: accepts(axiom.dimse_port), what="the listener")
        yield axiom


def _post(url: str, data: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(data).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def _named(axiom: Axiom, words: str) -> int:
    """The process whose command line ends with these words."""
    return next(pid for pid, line in axiom.processes().items() if " ".join(line).endswith(words))


def test_it_says_where_everything_is_and_the_password_works(running: Axiom):
    assert running.app in running.output
    assert f"{running.api}/api/v1/docs" in running.output
    answer = _post(f"{running.api}/api/v1/auth/login", {"username": "admin", "password": running.password})
    assert answer["must_change_password"] is True
    assert answer["user"]["role"] == "Admin"


def test_the_password_is_printed_and_written_nowhere(running: Axiom):
    for file in running.home.rglob("*"):
        if file.is_file():
            assert running.password.encode() not in file.read_bytes(), file


def test_a_listener_that_was_applied_listens_within_seconds(running: Axiom):
    assert echoscu(running.dimse_port)


def test_the_home_and_the_socket_are_ours_alone(running: Axiom):
    assert stat.S_IMODE(running.home.stat().st_mode) == 0o700
    assert stat.S_IMODE((running.home / "run").stat().st_mode) == 0o700
    valkey = psutil.Process(_valkey(running))
    assert not valkey.net_connections("tcp"), "the embedded Valkey must not be reached over TCP"
    assert list((running.home / "valkey").rglob("*.aof"))


def _valkey(axiom: Axiom) -> int:
    return next(pid for pid, line in axiom.processes().items() if "valkey-server" in line[0])


def test_doctor_says_that_all_is_well(running: Axiom):
    wait_until(lambda: "All is well." in running.cli("doctor", check=False).stdout, what="all is well")
    findings = running.json("doctor")
    assert {"home", "disk", "store", "Redis", "engine", "listener modalities", "API", "workbench", "clock"} <= {
        f["what"] for f in findings
    }


def test_status_shows_the_listener(running: Axiom):
    def shown() -> list[tuple[str, str]]:
        return [(x["name"], x["state"]) for x in running.json("status")["listeners"]]

    wait_until(lambda: shown() == [("modalities", "listening")], what="the listener's own word, which may be late")
    assert str(running.dimse_port) in running.cli("status").stdout


def test_a_second_start_is_refused_with_the_first_ones_pid(running: Axiom):
    done = running.cli("up", check=False)
    assert done.returncode == 1
    assert f"process {running.pid} (axiom up, since " in done.stderr


@pytest.mark.parametrize("name", ["api", "app", "engine"])
def test_a_child_that_is_killed_is_started_again(running: Axiom, name: str):
    if name == "app":
        victim = next(pid for pid, line in running.processes().items() if "streamlit" in line)
    else:
        victim = _named(running, f"-m engine {name}")
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: f"{name} was ended by SIGKILL" in running.output, what="a word of why")
    wait_until(lambda: f"{name} started again" in running.output, 30)
    wait_until(lambda: running.cli("doctor", check=False).returncode == 0, 60, "all is well again")


def test_a_killed_valkey_is_started_again_and_the_engine_goes_on(running: Axiom):
    os.kill(_valkey(running), signal.SIGKILL)
    wait_until(lambda: "valkey started again" in running.output, 30)
    wait_until(lambda: running.cli("doctor", check=False).returncode == 0, 60, "all is well again")


def test_inject_admin_lets_somebody_back_in(running: Axiom):
    made = running.json("inject-admin", "night-shift")
    answer = _post(f"{running.api}/api/v1/auth/login", made)
    assert answer["user"]["username"] == "night-shift"
    assert answer["must_change_password"] is True
    done = running.cli("inject-admin", "night-shift", "--password-stdin", text="a long enough sentence\n")
    assert "a long enough sentence" not in done.stdout
    given = {"username": "night-shift", "password": "a long enough sentence"}
    assert _post(f"{running.api}/api/v1/auth/login", given)["user"]["role"] == "Admin"


def _all_gone(family: list[int]) -> None:
    """None is left. A process that was killed with its parent is seen for a moment longer on a busy machine."""
    wait_until(lambda: not [pid for pid in family if pid_alive(pid)], what="that no process is left")


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order_and_leaves_nothing(tmp_path: Path, sig: signal.Signals):
    axiom = Axiom(tmp_path / "home")
    axiom.up()
    family = axiom.family()
    assert len(family) >= 8
    assert axiom.stop(sig) == 0
    assert "Nothing is running any more." in axiom.output
    _all_gone(family)
    assert not axiom.home.joinpath("run", "valkey.sock").exists()


def test_it_can_be_ended_while_it_starts(tmp_path: Path):
    axiom = Axiom(tmp_path / "home")
    axiom.start()
    wait_until(lambda: (axiom.home / "logs" / "engine.log").exists(), what="the engine's start")
    family = axiom.family()
    assert axiom.stop(signal.SIGINT) == 0
    assert "ready" not in axiom.output
    _all_gone(family)


def test_a_killed_parent_takes_all_down_and_the_next_start_works_on_what_is_left(tmp_path: Path):
    """kill -9, then the same home at once: lock file, socket and pids of the dead are in nobody's way."""
    axiom = Axiom(tmp_path / "home")
    axiom.apply(LISTENER.format(port=axiom.dimse_port))
    axiom.up()
    family = axiom.family()
    axiom.kill()
    axiom.up()
    try:
        _all_gone(family)
        assert echoscu(axiom.dimse_port)
        assert "admin with" not in axiom.output
        wait_until(lambda: axiom.cli("doctor", check=False).returncode == 0, 60, "all is well again")
        family = axiom.family()
        axiom.kill()
        _all_gone(family)
    finally:
        if axiom.process is not None and axiom.process.state == "running":
            axiom.stop()


def test_what_an_earlier_life_left_is_in_nobodys_way(tmp_path: Path):
    """A stale lock file, pids that are gone, a stale socket, and wake-up calls that cannot be read any more."""
    axiom = Axiom(tmp_path / "home")
    run, aof = axiom.home / "run", axiom.home / "valkey" / "appendonlydir"
    run.mkdir(parents=True)
    (run / "up.lock").write_text("999999\naxiom up, since long ago\n")
    (run / "children.json").write_text('["999999-1"]')
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(run / "valkey.sock"))
    aof.mkdir(parents=True)
    (aof / "appendonly.aof.manifest").write_text("this is no manifest\n")
    axiom.up()
    assert axiom.stop() == 0
    assert list(axiom.home.glob("valkey.unreadable-*"))
