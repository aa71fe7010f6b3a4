"""The flag that signals raise: it wakes at once, and no moment at which a signal comes can hang it."""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil

from engine.cli.stop_flag import StopFlag


def test_a_signal_ends_the_wait():
    flag = StopFlag()
    before = signal.signal(signal.SIGUSR1, lambda *_: flag.set())
    try:
        assert flag.wait(0.01) is False
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        began = time.monotonic()
        assert flag.wait(30) is True
        assert time.monotonic() - began < 25
        assert flag.is_set()
        assert flag.wait(30) is True
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_signals_at_any_moment_do_not_hang_it():
    """With a lock between handler and wait this hangs within a moment."""
    flags = [StopFlag()]
    before = signal.signal(signal.SIGALRM, lambda *_: flags[-1].set())
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    try:
        for _ in range(3000):
            flags[:] = [StopFlag()]
            while not flags[-1].wait(0.0005):
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert flags[-1].is_set()


def test_many_signals_do_not_fill_it_up():
    flag = StopFlag()
    for _ in range(100_000):
        flag.set()
    assert flag.wait(0) is True


def test_it_leaves_no_descriptor_behind():
    before = psutil.Process().num_fds()
    for _ in range(50):
        StopFlag().set()
    assert psutil.Process().num_fds() <= before + 2
