"""A job whose lease is lost is ended from outside, by a signal to its thread."""

# ruff: noqa: PT012 - what a body does before it is ended is the test

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time

import pytest

from celery_locks import LockLost, interrupt, signals
from celery_locks.interrupt import SIGNAL, Interruption
from celery_locks.lease import Claim, Lease
from tests.unit.fakes import in_child
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def _handlers():
    """Each test starts with nobody listening, and leaves it so."""
    before, interrupt._previous = signal.signal(SIGNAL, signal.SIG_DFL), None
    yield
    signal.signal(SIGNAL, before)
    assert interrupt._running == []
    interrupt._previous = None


def lost(key: str = "wallet:42") -> Lease:
    lease = Lease(Claim(key, "me", 10.0), 7, None)
    lease.lose("taken away")
    return lease


def endure() -> None:
    """Run on until something interrupts, but not for ever."""
    for _ in range(10**8):
        pass
    raise TimeoutError("nothing came")


def from_a_thread(action):
    """Do it in another thread, as the keeper does."""
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def test_a_loss_ends_the_body():
    """`LockLost` is raised in the running body, with the key and the reason."""
    interruption = Interruption()
    with pytest.raises(LockLost, match="'wallet:42' is gone: taken away"), interruption:
        from_a_thread(lambda: interruption.fire(lost()))
        endure()


def test_a_blocked_system_call_is_interrupted():
    """A body that waits for the network stops too."""
    interruption = Interruption()
    reader, writer = os.pipe()
    try:
        with pytest.raises(LockLost), interruption:
            from_a_thread(lambda: interruption.fire(lost()))
            os.read(reader, 1)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_loss_after_the_body_is_harmless():
    """One that comes too late raises nothing."""
    interruption = Interruption()
    with interruption:
        pass
    interruption.fire(lost())
    assert signal.sigpending() == set()


def test_a_late_loss_does_not_end_the_next_body():
    """The next job is another job."""
    former, present = Interruption(), Interruption()
    with former:
        pass
    with present:
        former.fire(lost())


def test_a_loss_is_raised_once():
    """A second signal finds nothing to say."""
    interruption = Interruption()
    with interruption:
        with pytest.raises(LockLost):
            interruption.fire(lost())
        signal.raise_signal(SIGNAL)


def test_a_loss_just_before_the_body_ends_it():
    """A lease lost between its answer and its job stops the job: it does not run to its end unlocked."""
    interruption = Interruption()
    interruption.fire(lost())
    with pytest.raises(LockLost), interruption:
        pass


def test_a_signal_that_means_nothing_is_harmless():
    """Somebody else's signal ends no body."""
    with Interruption():
        signal.raise_signal(SIGNAL)


def test_the_inner_of_two_bodies_is_ended_alone():
    """A lost inner lease ends the inner work; the outer goes on."""
    outer, inner = Interruption(), Interruption()
    with outer:
        with pytest.raises(LockLost, match="'inner'"), inner:
            inner.fire(lost("inner"))
        went_on = True
    assert went_on


def test_the_outer_of_two_bodies_ends_both():
    """A lost outer lease ends the inner work as well."""
    outer, inner = Interruption(), Interruption()
    reached = []
    with pytest.raises(LockLost, match="'outer'"), outer:
        with inner:
            outer.fire(lost("outer"))
            reached.append("inner")
        reached.append("outer")
    assert reached == []


def test_a_former_handler_is_still_called():
    """Whoever listened before gets what is not ours."""
    seen = []
    signal.signal(SIGNAL, lambda number, _frame: seen.append(number))
    with Interruption():
        signal.raise_signal(SIGNAL)
    assert seen == [SIGNAL]


def test_a_former_handler_is_not_called_for_a_loss():
    """What is ours is ours alone."""
    seen = []
    signal.signal(SIGNAL, lambda number, _frame: seen.append(number))
    interruption = Interruption()
    with contextlib.suppress(LockLost), interruption:
        interruption.fire(lost())
    assert seen == []


def test_listening_twice_does_not_chain_to_ourselves():
    """A handler that was its own predecessor would call itself for ever."""
    with Interruption(), Interruption():
        signal.raise_signal(SIGNAL)
    with Interruption():
        signal.raise_signal(SIGNAL)
    assert interrupt._previous is not interrupt._on_signal


@pytest.mark.parametrize("former", [signal.SIG_DFL, signal.SIG_IGN], ids=str)
def test_a_default_handler_is_no_handler(former):
    """Where nobody listened before nothing is called."""
    signal.signal(SIGNAL, former)
    with Interruption():
        signal.raise_signal(SIGNAL)


def test_a_body_in_another_thread_is_not_interrupted():
    """It learns of the loss from its lease; the main thread is left alone."""
    ended = []

    def work():
        interruption = Interruption()
        with interruption:
            interruption.fire(lost())
        ended.append("by itself")

    from_a_thread(work).join()
    assert ended == ["by itself"]
    assert signal.getsignal(SIGNAL) is signal.SIG_DFL


def test_kill_ends_the_process():
    """Nobody else can hold the key before the process is gone."""
    assert in_child(lambda: interrupt.kill(lost())) == -signal.SIGKILL


def test_kill_ends_a_process_whose_log_hangs():
    """As a pipe does that nobody reads."""

    class Full(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            threading.Event().wait()

    def killed():
        interrupt.logger.addHandler(Full())
        interrupt.kill(lost())

    assert in_child(killed) == -signal.SIGKILL


def test_kill_says_so(monkeypatch, caplog):
    """The last line of the process names the key."""
    monkeypatch.setattr(os, "kill", lambda *_: None)
    monkeypatch.setattr(interrupt, "_ending", [])
    interrupt.kill(lost())
    [record] = caplog.records
    assert record.levelname == "CRITICAL"
    assert "'wallet:42' is lost: ending process" in record.getMessage()


def test_a_process_that_ends_itself_tells_who_listens_of_the_loss(monkeypatch):
    """Where no parent knows of the lease nobody else could; where one does it tells them."""
    monkeypatch.setattr(os, "kill", lambda *_: None)
    monkeypatch.setattr(interrupt, "_ending", [])
    told = []
    monkeypatch.setattr(signals, "lost", signals.Signal("lost"))
    signals.lost.connect(told.append)
    interrupt.kill(lost())
    kept = lost("known to its parent")
    kept.news = lambda _: None
    interrupt.kill(kept)
    assert [(event.key, event.fence, event.reason) for event in told] == [("wallet:42", 7, "taken away")]


def test_the_next_job_does_not_begin_in_a_process_that_is_about_to_end():
    """Its own job may be over in the moment in which the loss was found."""

    def next_one():
        full = logging.Handler()
        full.emit = lambda _: threading.Event().wait()
        interrupt.logger.addHandler(full)
        from_a_thread(lambda: interrupt.kill(lost()))
        wait_until(lambda: interrupt._ending, "the end to be under way")
        interrupt.await_end()
        os._exit(7)

    assert in_child(next_one) == -signal.SIGKILL


def test_nobody_waits_for_an_end_that_is_not_under_way(monkeypatch):
    """It is asked after every job."""
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waited"))
    interrupt.await_end()
