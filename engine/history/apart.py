"""A person's SQL is answered in a process apart, so that its bounds hold whatever it asks.

DuckDB stops a query between two steps; but one step may build gigabytes of text out of a short question, or take minutes, and
neither the database's limit of memory nor an interrupt knows of it. Here the system sees to it: a process that uses too much
is refused memory, one that goes on for too long is ended by its own alarm, and the next question gets a new one. It has
nothing of the engine's environment (no secret is in it), and reads the history through `Reader` with all its fences.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson

from engine.errors import Invalid, Problem, Retry
from engine.history.lockdown import TOO_MUCH, sql_problem, took_too_long
from engine.history.reader import Reader

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Apart"]

AT_ONCE = 4
"""Questions that are answered at the same time: more would keep the API's threads from everything else."""
KEPT = 2
"""Processes that wait for the next question."""
PATIENCE_SECONDS = 2.0
GRACE_SECONDS = 2.0
"""After its time a query is interrupted; so much later its process is ended."""
MEMORY_MB = 1024
MOST_MB = 3072
"""Beyond the database's own memory: the answer, text that is being built, and the process itself."""
_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "HOME", "TMPDIR", "LANG", "TZ")


class Apart:
    """Answers SQL over one history folder, as `Reader.query` does. Thread-safe."""

    def __init__(self, history_dir: Path) -> None:
        self._dir = history_dir
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._waiting: list[subprocess.Popen[bytes]] = []

    def query(self, sql: str, *, limit: int, timeout_s: float, mask: bool) -> pa.Table:
        """At most `limit` rows. Raises Invalid (beside `sql`) as `Reader.query`, and Retry when too many ask at once."""
        import pyarrow as pa

        if not self._turns.acquire(timeout=PATIENCE_SECONDS):
            raise Retry(f"{AT_ONCE} questions are being answered already: ask again in a moment.", after=5.0)
        try:
            head, body = self._ask({"sql": sql, "limit": limit, "timeout_s": timeout_s, "mask": mask})
        finally:
            self._turns.release()
        if "retry" in head:
            raise Retry(head["retry"])
        if "problems" in head:
            raise Invalid([Problem(tuple(p["loc"]), p["words"]) for p in head["problems"]])
        table: pa.Table = pa.ipc.open_stream(body).read_all()
        return table

    def close(self) -> None:
        """End the processes that wait."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for process in waiting:
            _end(process)

    def _ask(self, question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        process = self._take()
        began = time.monotonic()
        answer = None
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(orjson.dumps(question) + b"\n")
                process.stdin.flush()
            if line := process.stdout.readline():
                head = orjson.loads(line)
                body = process.stdout.read(head.get("bytes", 0))
                answer = (head, body) if len(body) == head.get("bytes", 0) else None
        finally:
            # one that failed may still hold what it failed over
            if answer is None or "bytes" not in answer[0] or not self._keep(process):
                _end(process)
        if answer is not None:
            return answer
        seconds = question["timeout_s"]
        if time.monotonic() - began >= seconds:
            raise took_too_long(seconds)
        raise sql_problem(TOO_MUCH)

    def _take(self) -> subprocess.Popen[bytes]:
        with self._lock:
            while self._waiting:
                if (process := self._waiting.pop()).poll() is None:
                    return process
                _end(process)
        env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return subprocess.Popen(
            [sys.executable, "-m", "engine.history.apart", str(self._dir)], env=env, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip

    def _keep(self, process: subprocess.Popen[bytes]) -> bool:
        with self._lock:
            if len(self._waiting) >= KEPT:
                return False
            self._waiting.append(process)
            return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    process.wait()


def _answer(reader: Reader, question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    import pyarrow as pa

    try:
        table = reader.query(question.pop("sql"), **question)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        body = sink.getvalue().to_pybytes()
        return {"bytes": len(body)}, body
    except Invalid as e:
        return {"problems": [{"loc": p.loc, "words": p.words} for p in e.problems]}, b""
    except Retry as e:
        return {"retry": str(e)}, b""
    except MemoryError:
        return {"problems": [{"loc": ["sql"], "words": TOO_MUCH}]}, b""


def _serve(history_dir: Path, questions: IO[bytes], answers: IO[bytes]) -> None:
    """Until the questions end: whoever asks has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes the pipe
    limit = MOST_MB << 20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    reader = Reader(history_dir, memory=f"{MEMORY_MB}MB")
    for line in questions:
        question = orjson.loads(line)
        # the alarm's own action ends the process, also in the middle of a step
        signal.setitimer(signal.ITIMER_REAL, question["timeout_s"] + GRACE_SECONDS)
        head, body = _answer(reader, question)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(orjson.dumps(head) + b"\n" + body)
        answers.flush()


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # what anything prints is no answer
        _serve(Path(sys.argv[1]), sys.stdin.buffer, out)
