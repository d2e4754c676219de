"""Interrupting a job whose lease another process keeps: that sends the signal, and the lease knows why."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from celery_locks import LockLost
from celery_locks.interrupt import SIGNAL, Interruption
from celery_locks.lease import Claim, Lease
from celery_locks.rounds import leave_signals_to_main


@pytest.fixture
def said() -> list[str]:
    """Why the lease is lost, once it is."""
    return []


@pytest.fixture
def kept(said: list[str]) -> Lease:
    """A lease that hears what is said."""
    lease = Lease(Claim("wallet:42", "me", 30.0), 7, time.monotonic() + 30.0)
    lease.news = lambda lease: said and lease.lose(said[0])
    return lease


def heeding(lease: Lease) -> Interruption:
    interruption = Interruption()
    interruption.heeds(lease)
    return interruption


def struck(said: list[str], why: str = "lost") -> None:
    """A body that loses its lease, and would go on for long."""
    said.append(why)
    os.kill(os.getpid(), SIGNAL)
    time.sleep(10)


def test_a_signal_from_outside_ends_the_body(kept: Lease, said: list[str]):
    """It comes from another process; why it came is what the lease hears."""
    with pytest.raises(LockLost, match="the parent says so"), heeding(kept):
        struck(said, "the parent says so")


def test_a_signal_about_nothing_ends_nothing(kept: Lease):
    """The lease is held: somebody else sent it."""
    with heeding(kept):
        os.kill(os.getpid(), SIGNAL)
        time.sleep(0)


def test_a_loss_before_the_body_began(kept: Lease, said: list[str]):
    """Its signal came when nobody listened."""
    said.append("lost early")
    with pytest.raises(LockLost, match="lost early"), heeding(kept):
        pytest.fail("the body ran")


def test_a_loss_is_raised_once(kept: Lease, said: list[str]):
    """A second signal, and the process's own keeper, do not strike the cleaning up."""
    cleaned = []
    interruption = heeding(kept)

    def body() -> None:
        try:
            struck(said)
        finally:
            os.kill(os.getpid(), SIGNAL)
            interruption.fire(kept)
            time.sleep(0)
            cleaned.append(True)

    with pytest.raises(LockLost), interruption:
        body()
    assert cleaned


def test_a_loss_that_is_heard_meanwhile_interrupts_once(kept: Lease, said: list[str]):
    """To ask the lease for the reason may be the first that this process hears of it."""
    signals: list[int] = []
    interruption = heeding(kept)
    kept.news = lambda lease: said and lease.lose(said[0]) and interruption.fire(lease)
    before = signal.signal(SIGNAL, lambda number, _: signals.append(number))
    try:
        with pytest.raises(LockLost), interruption:
            struck(said)
        time.sleep(0)
    finally:
        signal.signal(SIGNAL, before)
    assert signals == []


def test_a_soft_time_limit_that_strikes_as_a_lease_is_asked(kept: Lease):
    """It ends the job; a loss that comes while that is cleaned up ends the cleaning up, as any loss does."""
    interruption = heeding(kept)
    hear = kept.news

    def struck_there(_: Lease) -> None:
        kept.news = hear
        raise TimeoutError

    def body() -> None:
        kept.news = struck_there
        with pytest.raises(TimeoutError):
            interruption.due()
        kept.lose("taken away")
        interruption.fire(kept)
        time.sleep(10)

    with pytest.raises(LockLost), interruption:
        body()


def test_an_unkept_lease_is_not_asked():
    """One that was never held, of a job that runs without its store, does not end the job."""
    lease = Lease.unlocked(Claim("wallet:42", "me", 30.0))
    with heeding(lease):
        os.kill(os.getpid(), SIGNAL)
        time.sleep(0)


def test_a_helper_thread_takes_no_signals():
    """A signal that ends a job is the main thread's, or it would interrupt nothing.

    It takes all others: what a receiver of our events starts has the same mask, and can be ended by SIGTERM.
    """
    masks = []

    def look() -> None:
        leave_signals_to_main()
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert masks == [before | {SIGNAL, signal.SIGUSR1}]
    assert SIGNAL not in before


def test_a_job_that_is_struck_too_early_is_struck_again(kept: Lease, monkeypatch: pytest.MonkeyPatch):
    """A signal that comes just before a system call does not interrupt it: the job would sleep on."""
    interruption, kill, sent = heeding(kept), signal.pthread_kill, []

    def lost_once(ident: int, number: int) -> None:
        sent.append(number)
        if len(sent) > 1:
            kill(ident, number)

    def body() -> None:
        kept.lose("taken away")
        interruption.fire(kept)
        time.sleep(10)

    monkeypatch.setattr(signal, "pthread_kill", lost_once)
    with pytest.raises(LockLost), interruption:
        body()
    assert len(sent) >= 2
