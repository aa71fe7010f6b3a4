"""Children, tokens and locks, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from engine.process import Child, LockHeld, OwnerLock, pid_alive, process_token, stop_all, token_alive
from tests.peers import wait_until

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
DEAF = [
    sys.executable, "-u", "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)",
]


def test_stop_ends_a_child_by_sigterm():
    child = Child("sleeper", SLEEPER)
    child.start()
    pid = child.pid
    assert pid is not None
    assert child.poll()
    assert child.state == "running"
    child.stop(grace=10)
    assert child.returncode == -signal.SIGTERM
    assert child.state == "stopped"
    assert not pid_alive(pid)
    assert not child.poll()


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path):
    child = Child("deaf", DEAF, log=tmp_path / "deaf.log")
    child.start()
    wait_until(lambda: "deaf" in (tmp_path / "deaf.log").read_text())
    child.stop(grace=0.3)
    assert child.returncode == -signal.SIGKILL


def test_stop_all_waits_once_for_all(tmp_path: Path):
    children = [Child(f"c{i}", DEAF, log=tmp_path / f"{i}.log") for i in range(3)]
    for child in children:
        child.start()
    wait_until(lambda: all("deaf" in (tmp_path / f"{i}.log").read_text() for i in range(3)))
    began = time.monotonic()
    stop_all(children, grace=2)
    assert time.monotonic() - began < 6, "one grace for all, not one after the other"
    assert {c.returncode for c in children} == {-signal.SIGKILL}


def test_a_child_that_ended_is_started_again_and_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    code = "print('no such thing'); raise SystemExit(3)"
    child = Child("flaky", [sys.executable, "-c", code], log=tmp_path / "f.log")
    child.start()
    wait_until(lambda: child.state == "waiting")
    assert not child.poll()
    assert child.ended == 'ended with exit code 3 (its log ends with: "no such thing")'
    assert "starting it again in 1 s" in caplog.text
    wait_until(child.poll, timeout=10)
    assert child.restarts == 1
    wait_until(lambda: not child.poll())
    assert "starting it again in 2 s" in caplog.text
    child.stop()
    assert child.state == "stopped"


def test_a_killed_child_is_told_by_its_signal(caplog: pytest.LogCaptureFixture):
    child = Child("sleeper", SLEEPER, restart=False)
    child.start()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: not child.poll())
    assert child.ended == "was ended by SIGKILL"
    assert child.returncode == -signal.SIGKILL
    assert "again" not in caplog.text


def test_the_log_is_appended_and_rotated(tmp_path: Path):
    path = tmp_path / "logs" / "hello.log"
    argv = [sys.executable, "-c", "print('hello')"]
    for _ in range(2):
        child = Child("hello", argv, log=path, restart=False)
        child.start()
        assert child.wait(30)
    assert path.read_text() == "hello\nhello\n"
    with path.open("ab") as f:
        f.truncate(11 << 20)
    child = Child("hello", argv, log=path, restart=False)
    child.start()
    assert child.wait(30)
    assert path.read_text() == "hello\n"
    assert path.with_name("hello.log.1").stat().st_size == 11 << 20


def test_it_must_be_started_in_the_main_thread():
    errors: list[BaseException] = []

    def start() -> None:
        try:
            Child("sleeper", SLEEPER).start()
        except RuntimeError as e:
            errors.append(e)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_children_and_their_children_end_with_a_killed_parent(tmp_path: Path):
    grandchild = tmp_path / "grandchild.py"
    grandchild.write_text(
        "import os, time\n"
        "from engine.process import die_with_parent\n"
        "parent = os.getpid()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    die_with_parent(parent=parent)\n"
        "print(os.getpid(), flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom engine.process import Child\n"
        f"Child('c', [sys.executable, {str(grandchild)!r}], log=Path({str(tmp_path / 'pids')!r})).start()\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, str(parent)], env=os.environ | {"PYTHONPATH": str(Path.cwd())})
    try:
        wait_until(lambda: (tmp_path / "pids").is_file() and (tmp_path / "pids").read_text().count("\n") == 2)
        pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
        assert all(pid_alive(pid) for pid in pids)
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not any(pid_alive(pid) for pid in pids))


def test_a_fork_whose_parent_is_gone_already_ends_itself():
    code = (
        "import os\nfrom engine.process import die_with_parent\n"
        "die_with_parent(parent=os.getppid() + 100000)\nprint('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == ""


def test_tokens_name_one_process_for_good():
    token = process_token()
    assert token_alive(token)
    pid, ticks = token.split("-")
    assert pid_alive(int(pid), int(ticks))
    assert not pid_alive(int(pid), int(ticks) + 1)
    assert not token_alive(f"{pid}-{int(ticks) + 1}")
    assert not token_alive("")
    assert not token_alive("worker-7")
    child = subprocess.Popen(SLEEPER)
    token = process_token(child.pid)
    assert token_alive(token)
    child.kill()
    wait_until(lambda: not token_alive(token))  # a zombie is dead
    child.wait()
    with pytest.raises(ProcessLookupError):
        process_token(child.pid)


def test_one_owner_a_place(tmp_path: Path):
    path = tmp_path / "run" / "up.lock"
    with OwnerLock(path, "axiom up"):
        with pytest.raises(LockHeld) as caught:
            OwnerLock(path).acquire()
        assert caught.value.pid == os.getpid()
        assert caught.value.words == "axiom up"
        assert f"process {os.getpid()} (axiom up)" in str(caught.value)
    second = OwnerLock(path, "second")
    second.acquire()
    assert path.read_text() == f"{os.getpid()}\nsecond\n"
    second.release()


def test_a_dead_owners_lock_is_free_and_a_fork_does_not_keep_it(tmp_path: Path):
    path = tmp_path / "up.lock"
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom engine.process import OwnerLock\n"
        f"lock = OwnerLock(Path({str(path)!r}), 'owner'); lock.acquire()\n"
        "child = os.fork()\n"
        "if child: print(child, flush=True)\n"
        "time.sleep(600)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    fork = int(owner.stdout.readline())
    try:
        with pytest.raises(LockHeld) as caught:
            OwnerLock(path).acquire()
        assert caught.value.pid == owner.pid
        owner.kill()
        owner.wait()
        assert pid_alive(fork)
        lock = OwnerLock(path)
        lock.acquire()
        lock.release()
    finally:
        os.kill(fork, signal.SIGKILL)
        owner.stdout.close()
