"""What is in the way of a start, each as a clear sentence and a non-zero exit, by real processes."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.process import OwnerLock
from tests.running import Axiom


@pytest.fixture
def fresh(tmp_path: Path) -> Axiom:
    return Axiom(tmp_path / "home")


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", port))
        s.listen()
        yield


def refused(axiom: Axiom, *args: str, **env: str) -> str:
    """What `axiom up` says when it refuses: sentences, on stderr, exit 1, no traceback, nothing left running."""
    done = axiom.cli("up", *args, check=False, **env)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "ready" not in done.stdout
    return done.stderr


@pytest.mark.parametrize(
    ("attribute", "variable", "what"),
    [
        ("api_port", "AXIOM_API_PORT", "the API"),
        ("app_port", "AXIOM_APP_PORT", "the workbench"),
        ("dimse_port", "AXIOM_DIMSE_PORT", "the DICOM listener"),
    ],
)
def test_a_port_that_is_taken_is_told_with_its_holder(fresh: Axiom, attribute: str, variable: str, what: str):
    port = getattr(fresh, attribute)
    with taken(port):
        words = refused(fresh)
    assert f"Port {port}, for {what}, is taken by process {os.getpid()} (" in words
    assert f"set {variable} to a free port." in words


def test_all_taken_ports_are_told_at_once(fresh: Axiom):
    with taken(fresh.api_port), taken(fresh.app_port):
        words = refused(fresh)
    assert str(fresh.api_port) in words
    assert str(fresh.app_port) in words


def test_a_configured_listeners_port_is_looked_at_too(fresh: Axiom, free_port: int):
    fresh.apply(f"sources:\n- {{name: ct, kind: dimse_listener, port: {free_port}}}\n")
    with taken(free_port):
        words = refused(fresh)
    assert f"Port {free_port}, for the listener ct, is taken" in words
    assert "axiom config apply" in words


def test_one_port_for_two_things_is_told(fresh: Axiom):
    words = refused(fresh, AXIOM_APP_PORT=str(fresh.api_port))
    assert f"Port {fresh.api_port} is wanted for the API and for the workbench" in words


def test_an_address_that_is_not_ours_is_told(fresh: Axiom):
    assert "not an address of this machine. Check AXIOM_HOST" in refused(fresh, AXIOM_HOST="192.0.2.1")


def test_a_second_start_on_one_home_names_the_first(fresh: Axiom):
    fresh.home.mkdir()
    with OwnerLock(fresh.home / "run" / "up.lock", "axiom up, since 2026-01-01 10:00:00"):
        words = refused(fresh)
    assert f"already runs on {fresh.home}: process {os.getpid()} (axiom up, since 2026-01-01 10:00:00)" in words
    assert f"kill {os.getpid()}" in words
    assert "AXIOM_HOME" in words


def test_a_home_that_is_a_file_is_told(fresh: Axiom):
    fresh.home.write_text("I am a file")
    words = refused(fresh)
    assert f"AXIOM_HOME is {fresh.home}" in words
    assert "is not a folder" in words
    below = refused(fresh, AXIOM_HOME=str(fresh.home / "deeper"))
    assert "is not a folder. Set AXIOM_HOME to a folder that can be." in below


def test_a_home_that_cannot_be_written_is_told(fresh: Axiom):
    words = refused(fresh, AXIOM_HOME="/sys/axiom")
    assert re.search(r"AXIOM_HOME is /sys/axiom, which cannot be written by \S+: .+\. Set AXIOM_HOME", words)


def test_a_read_only_home_is_told(fresh: Axiom):
    if os.geteuid() == 0:  # root writes through permissions: a mount is what stops it
        fresh.home.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(fresh.home)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("this root may not mount")
        try:
            words = refused(fresh)
        finally:
            subprocess.run(["umount", str(fresh.home)], check=True)
    else:
        fresh.home.mkdir(mode=0o500)
        words = refused(fresh)
    assert "cannot be written by" in words


def test_a_home_on_a_full_disk_is_told(fresh: Axiom):
    fresh.home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(fresh.home)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root makes a small disk, and not every root may")
    try:
        with pytest.raises(OSError, match="No space left"), (fresh.home / "fill").open("wb", buffering=0) as fill:
            while True:
                fill.write(bytes(4096))
        words = refused(fresh)
    finally:
        subprocess.run(["umount", str(fresh.home)], check=True)
    assert "no space left on device. Make room there." in words


def test_a_redis_that_cannot_be_reached_is_told_without_its_password(fresh: Axiom, free_port: int):
    words = refused(fresh, AXIOM_REDIS_URL=f"redis://axiom:sesame@127.0.0.1:{free_port}/2")
    assert f"Redis at redis://127.0.0.1:{free_port}/2 cannot be reached" in words
    assert "AXIOM_REDIS_URL" in words
    assert "sesame" not in words


def test_a_redis_url_that_is_none_is_told(fresh: Axiom):
    assert "cannot be reached" in refused(fresh, AXIOM_REDIS_URL="http://127.0.0.1/")


def test_a_store_that_cannot_be_reached_is_told_without_its_password(fresh: Axiom, free_port: int):
    words = refused(fresh, AXIOM_DATABASE_URL=f"postgresql://axiom:sesame@127.0.0.1:{free_port}/axiom")
    assert f"127.0.0.1:{free_port}" in words
    assert "sesame" not in words


def test_a_store_that_is_damaged_is_told_with_what_to_do(fresh: Axiom):
    fresh.home.mkdir()
    (fresh.home / "axiom.db").write_bytes(b"no database " * 500)
    words = refused(fresh)
    assert "axiom.db is damaged: file is not a database." in words
    assert "backup" in words


def test_settings_that_do_not_hold_are_told_by_their_variables(fresh: Axiom):
    words = refused(fresh, AXIOM_API_PORT="eight", AXIOM_INSTANCE_ID="a b")
    assert "AXIOM_API_PORT: " in words
    assert "AXIOM_INSTANCE_ID: " in words


def test_an_embedded_socket_in_anothers_folder_is_refused(fresh: Axiom, tmp_path: Path):
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder of somebody else")
    run = fresh.home / "run"
    run.mkdir(parents=True)
    os.chown(run, 12345, 12345)
    assert "belongs to somebody else" in refused(fresh)
