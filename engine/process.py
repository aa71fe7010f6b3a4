"""Processes: children that never outlive their parent, names for living processes, and one owner a place.

Linux: the kernel sends a signal to a child whose parent has gone (`prctl(2)`, PR_SET_PDEATHSIG). Elsewhere our own
processes watch their parent's pid (`die_with_parent`); a foreign program started there may outlive a killed parent, and
whoever starts it next must look for the left-over.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

import psutil

from engine.errors import AxiomError

__all__ = [
    "Child", "LockHeld", "OwnerLock", "die_with_parent", "pid_alive", "process_token", "stop_all", "token_alive",
]

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True) if _LINUX else None
_LOG_LIMIT = 10 << 20
_LONGEST_BACK_OFF = 30.0
_WELL_AFTER = 60.0


def die_with_parent(sig: signal.Signals = signal.SIGTERM, parent: int | None = None) -> None:
    """Have this process get `sig` when its parent ends. Call it first thing, in the main thread.

    `parent` is the pid that the parent had when it made this process: if it has ended already, this process ends
    itself. Without it only a parent that ends during this call is noticed. The parent's *thread* counts: whoever makes
    processes makes them in its main thread.
    """
    before = os.getppid() if parent is None else parent
    if _libc is not None:
        if _libc.prctl(_PR_SET_PDEATHSIG, int(sig), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    else:
        threading.Thread(target=_watch_parent, args=(before, sig), name="parent-watch", daemon=True).start()
    if os.getppid() != before:
        os.kill(os.getpid(), sig)


def _watch_parent(parent: int, sig: signal.Signals) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), sig)


def _start_ticks(pid: int) -> int | None:
    """When it began, in clock ticks since boot (elsewhere: hundredths since the epoch). None: it has ended."""
    if not _LINUX:
        try:
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else int(process.create_time() * 100)
        except psutil.Error:
            return None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the command's name may hold blanks and brackets
    return None if fields[0] in "ZX" else int(fields[19])


def pid_alive(pid: int, start_time: int | None = None) -> bool:
    """Whether `pid` is a living process (no zombie), and, with `start_time`, the same one that began then."""
    ticks = _start_ticks(pid)
    return ticks is not None and (start_time is None or ticks == start_time)


def process_token(pid: int | None = None) -> str:
    """`"<pid>-<start ticks>"`: names a process (this one, unless told) for good, though pids are used again."""
    pid = os.getpid() if pid is None else pid
    ticks = _start_ticks(pid)
    if ticks is None:
        raise ProcessLookupError(f"There is no process {pid}.")
    return f"{pid}-{ticks}"


def token_alive(token: str) -> bool:
    """Whether the process that a `process_token` names still lives; what is no token names none."""
    pid, _, ticks = token.partition("-")
    return pid.isdigit() and ticks.isdigit() and pid_alive(int(pid), int(ticks))


class Child:
    """One process that we start, watch, restart and end. Its output goes to its own log file (None: to ours).

    `line` writes each line of the output anew before it goes to the log (for a foreign program that has a form of its own).
    `restart`: `poll` starts it again when it has ended, after 1, 2, 4 ... 30 s; a minute of running well resets that.
    `on_parent_death` is what it gets when we are gone. `argv[0]` must be a path or found on PATH.
    It is in a process group of its own, so that a Ctrl-C at the terminal reaches only us, who end it in order.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        line: Callable[[str], str] | None = None,
        restart: bool = True,
        on_parent_death: signal.Signals = signal.SIGTERM,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.argv = [os.fspath(a) for a in argv]
        self.env = dict(env) if env is not None else None
        self.log = log
        self.line = line
        self.restart = restart
        self.on_parent_death = on_parent_death
        self.cwd = cwd
        self.restarts = 0
        self.ended: str = ""
        """How it ended last, in words; "" while nothing ended."""
        self.returncode: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None
        self._wanted = False
        self._started_at = 0.0
        self._next_start = 0.0
        self._failures = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def state(self) -> str:
        """`running`, `waiting` (ended, to be started again) or `stopped`."""
        if self._process is not None and self._process.poll() is None:
            return "running"
        return "waiting" if self._wanted and self.restart else "stopped"

    def start(self) -> None:
        """Start it now. Call from the main thread: the kernel ties the child to the thread that made it.

        Raises OSError when the program cannot be run.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"{self.name} must be started in the main thread: it ends with the thread that made it.")
        if self.state == "running":
            return
        self._wanted = True
        self._started_at = time.monotonic()
        with contextlib.ExitStack() as stack:
            out: IO[bytes] | None = None
            if self.log is not None:
                self.log.parent.mkdir(parents=True, exist_ok=True)
                _rotate(self.log)
                out = stack.enter_context(self.log.open("ab"))
            self._process = subprocess.Popen(
                self.argv,
                env=self.env,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if out is not None and self.line is not None else out,
                stderr=subprocess.STDOUT if out is not None else None,
                process_group=0,
                preexec_fn=_tie(self.on_parent_death, os.getpid()),  # noqa: PLW1509  (one prctl; libc is loaded)
            )
            if self._process.stdout is not None and out is not None and self.line is not None:
                given = (self._process.stdout, os.dup(out.fileno()), self.line)
                self._pump = threading.Thread(target=_pump, args=given, name=f"log-{self.name}", daemon=True)
                self._pump.start()
        self.returncode = None

    def poll(self) -> bool:
        """Look after it: note that it ended and why, start it again when its time has come. True: it runs."""
        if self._process is not None and self._process.poll() is None:
            if self._failures and time.monotonic() - self._started_at > _WELL_AFTER:
                self._failures = 0
            if self.log is not None:
                _rotate_in_use(self.log)
            return True
        if self._process is not None:
            self._note_end(self._process)
        if self._wanted and self.restart and time.monotonic() >= self._next_start:
            self.restarts += 1
            try:
                self.start()
            except OSError as e:
                self._back_off(f"could not be started: {e}")
                return False
            log.info("%s started again (pid %s)", self.name, self.pid)
            return True
        return False

    def _note_end(self, process: subprocess.Popen[bytes]) -> None:
        self._process = None
        self.returncode = process.returncode
        self._finish_log()
        if time.monotonic() - self._started_at > _WELL_AFTER:
            self._failures = 0
        self._back_off(f"{_how(process.returncode)}{_last_words(self.log)}")

    def _back_off(self, why: str) -> None:
        self.ended = why
        wait = min(_LONGEST_BACK_OFF, 2.0**self._failures)
        self._failures += 1
        self._next_start = time.monotonic() + wait
        again = f"; starting it again in {wait:.0f} s" if self._wanted and self.restart else ""
        log.warning("%s %s%s", self.name, why, again)

    def ask_to_stop(self, sig: signal.Signals = signal.SIGTERM) -> None:
        """Send it `sig` and start it no more; `wait` then sees it off."""
        self._wanted = False
        if self._process is not None:
            self._process.send_signal(sig)  # does nothing when it has ended: the pid is still ours until waited for

    def wait(self, timeout: float) -> bool:
        """Whether it has ended within so many seconds."""
        if self._process is None:
            return True
        try:
            self.returncode = self._process.wait(max(0.0, timeout))
        except subprocess.TimeoutExpired:
            return False
        self._process = None
        self._finish_log()
        return True

    def _finish_log(self) -> None:
        """What it said last is in the log (its children may keep the pipe open: then without them)."""
        if self._pump is not None:
            self._pump.join(1.0)
            self._pump = None

    def stop(self, grace: float = 10.0) -> None:
        """SIGTERM, up to `grace` seconds for it to end, then SIGKILL. It is not started again."""
        stop_all([self], grace)


def _pump(said: IO[bytes], into: int, line: Callable[[str], str]) -> None:
    """Each line, written anew, until nobody can say anything any more."""
    with said, open(into, "ab", buffering=0) as file:
        for one in said:
            text = one.decode("utf-8", "replace").rstrip()
            if text:
                with contextlib.suppress(OSError):  # a full disk: who speaks must not be held up by it
                    file.write(f"{line(text)}\n".encode())


def stop_all(children: Iterable[Child], grace: float = 10.0) -> None:
    """End several at once: SIGTERM to all, `grace` seconds for them together, then SIGKILL to those that stay."""
    children = list(children)
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + grace
    for child in children:
        if not child.wait(deadline - time.monotonic()):
            log.warning("%s did not end within %.0f s of SIGTERM: SIGKILL", child.name, grace)
            child.ask_to_stop(signal.SIGKILL)
            child.wait(5.0)


def _tie(sig: signal.Signals, parent: int) -> Callable[[], None] | None:
    libc = _libc
    if libc is None:
        return None

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(sig), 0, 0, 0)
        if os.getppid() != parent:  # the parent ended between fork and prctl
            os._exit(0)

    return in_child


def _how(returncode: int) -> str:
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        return f"was ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was ended by signal {-returncode}"


def _last_words(path: Path | None) -> str:
    """The last line of a log, for saying why a process ended."""
    if path is None or not path.is_file():
        return ""
    with path.open("rb") as f:
        f.seek(max(0, path.stat().st_size - 4096))
        lines = [line for line in f.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return f' (its log ends with: "{lines[-1].strip()[:300]}")' if lines else ""


def _rotate(path: Path) -> None:
    if path.is_file() and path.stat().st_size > _LOG_LIMIT:
        path.replace(path.with_name(path.name + ".1"))


def _rotate_in_use(path: Path) -> None:
    """A running child keeps its file open for appending: copy what there is, then cut the file to nothing."""
    if path.is_file() and path.stat().st_size > 5 * _LOG_LIMIT:
        shutil.copyfile(path, path.with_name(path.name + ".1"))
        os.truncate(path, 0)


class LockHeld(AxiomError):
    """Somebody else owns the place. `pid` is theirs (None: could not be read), `words` what they wrote."""

    def __init__(self, path: Path, pid: int | None, words: str) -> None:
        self.pid = pid
        self.words = words
        holder = f"process {pid}" if pid is not None else "another process"
        super().__init__(f"{path} is held by {holder}{f' ({words})' if words else ''}.")


class OwnerLock:
    """A place has one owner: flock(2) on a file that says who. A dead owner's lock is free: it goes with its process.

    A process forked from the owner does not keep it: its copy of the file is closed at the fork.
    """

    def __init__(self, path: Path, words: str = "") -> None:
        self.path = path
        self.words = words
        self._fd: int | None = None
        _locks.add(self)

    def acquire(self) -> None:
        """Become the owner. Raises LockHeld, with the holder's pid and words; OSError when the file cannot be made."""
        if self._fd is not None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, words = _holder(os.pread(fd, 4096, 0))
            os.close(fd)
            raise LockHeld(self.path, pid, words) from None
        except OSError:
            os.close(fd)
            raise
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n{self.words}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Own it no more. The file stays: removing it would let two owners lock two files of one name."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> OwnerLock:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.release()


_locks: weakref.WeakSet[OwnerLock] = weakref.WeakSet()


def _forget_locks_of_parent() -> None:
    for lock in list(_locks):
        lock.release()  # closes the fork's copy: the parent's own descriptor keeps the lock


os.register_at_fork(after_in_child=_forget_locks_of_parent)


def _holder(content: bytes) -> tuple[int | None, str]:
    first, _, rest = content.decode("utf-8", "replace").partition("\n")
    return (int(first) if first.strip().isdigit() else None), rest.strip()
