"""How a death in the pool is told, and how its processes are struck."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from celery_locks.pool import deaths
from celery_locks.pool.deaths import Bell, Deaths


def new_process() -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


@pytest.fixture(params=["descriptors", "looking"])
def watch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Deaths:
    """Deaths as Linux tells of them, and as they are found elsewhere."""
    if request.param == "looking":
        monkeypatch.setattr(deaths, "_descriptor", lambda _: None)
    elif not hasattr(os, "pidfd_open"):
        pytest.skip("this system has no descriptors of processes")
    return Deaths(Bell())


def test_a_death_is_told(watch: Deaths):
    """Once, and only of the one that died."""
    with new_process() as first, new_process() as second:
        for process in (first, second, first, second):
            known = watch._fds.get(process.pid)
            watch.expect(process.pid)
            assert known in (None, watch._fds[process.pid])
        assert watch.wait(0.0) == []
        watch.strike(first.pid, signal.SIGKILL)
        first.wait()
        assert watch.wait(10.0) == [first.pid]
        assert watch.wait(0.0) == []
        second.kill()


def test_who_is_dead_already(watch: Deaths):
    """It is told at the next look."""
    with new_process() as process:
        process.kill()
    watch.expect(process.pid)
    assert watch.wait(10.0) == [process.pid]
    watch.strike(process.pid, signal.SIGKILL)


def test_the_bell_wakes(watch: Deaths):
    """However often it was rung meanwhile, once; a full pipe does not stop the ringing."""
    for _ in range(100_000):
        watch._bell.ring()
    assert watch.wait(60.0) == []
    poll = deaths.select.poll()
    poll.register(watch._bell.fd, deaths.select.POLLIN)
    assert poll.poll(0) == []


def test_a_number_that_is_not_our_childs(watch: Deaths):
    """It has gone to another process, of somebody else: ours is dead, and that one is not struck."""
    watch._fds[1] = None
    watch.strike(1, signal.SIGURG)
    assert watch.wait(10.0) == [1]
    assert watch.wait(0.0) == []


def test_a_number_of_somebody_else(monkeypatch: pytest.MonkeyPatch):
    """Where a system can only say that a number is taken, one that we may not touch is not ours."""
    monkeypatch.delattr(os, "waitid", raising=False)
    monkeypatch.setattr(os, "kill", refuse)
    assert not deaths._lives(os.getpid())


def test_a_sandbox_that_forbids_signals_by_descriptor(monkeypatch: pytest.MonkeyPatch):
    """They are sent by number."""
    monkeypatch.setattr(signal, "pidfd_send_signal", refuse, raising=False)
    watch = Deaths(Bell())
    with new_process() as process:
        watch.expect(process.pid)
        watch.strike(process.pid, signal.SIGKILL)
        assert process.wait(60.0) == -signal.SIGKILL


def test_a_bell_that_is_broken():
    """Who rings has a job to do."""
    bell = Bell()
    os.close(bell.fd)
    os.close(bell.rope)
    bell.ring()


def refuse(*_: object) -> None:
    raise PermissionError("not in this sandbox")
