"""What a process of a pool is doing, as its parent reads it; and green threads."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys

import pytest

from celery_locks.board import Board
from celery_locks.errors import LockConfigError
from celery_locks.worker import stacks
from celery_locks.worker.running import running
from tests.unit.bank import job

HEAD = b"Stack (most recent call first):\n"
FIRST = HEAD + b'  File "/app/init.py", line 3 in born\n  File "/bin/celery", line 8 in <module>\n'
LATER = b"""  File "/app/a b.py", line 7 in pay
  File "/app/bank.py", line 12 in run
  File "/bin/celery", line 8 in <module>
"""
SHOWN = [
    '  File "/bin/celery", line 8, in <module>',
    '  File "/app/bank.py", line 12, in run',
    '  File "/app/a b.py", line 7, in pay',
]


def test_a_stack_is_shown_as_python_does():
    """The latest call last."""
    assert stacks.calls(HEAD + LATER, FIRST) == SHOWN


@pytest.mark.parametrize("cut", range(0, len(HEAD + LATER), 7))
def test_half_a_stack_is_none(cut):
    """It is complete when it ends as all stacks of its process do."""
    assert stacks.calls((HEAD + LATER)[:cut], FIRST) is None


def test_a_stack_that_was_asked_for_before_may_be_among_them():
    """A whole one is as good, and half of one is not waited for in vain for ever, but is no answer."""
    assert stacks.calls(HEAD + LATER + HEAD + LATER[:20], FIRST) == SHOWN
    assert stacks.calls(LATER[20:] + HEAD + LATER, FIRST) is None


def test_the_stack_of_another_thread_is_none():
    """It ends in another way, and says nothing of the job."""
    assert stacks.calls(HEAD + b'  File "/lib/threading.py", line 1002 in _bootstrap\n', FIRST) is None


def test_a_very_deep_stack_has_its_latest_calls():
    """As many as are written."""
    deep = HEAD + b'  File "/app/deep.py", line 1 in deeper\n' * 100 + b"  ...\n"
    assert stacks.calls(deep, FIRST) == ['  File "/app/deep.py", line 1, in deeper'] * 3 + [
        "  [Previous line repeated 97 more times]"
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process listens")
def test_a_process_listens_unless_somebody_else_has_the_signal():
    """A user's own handler stays, and that process is not asked."""
    [region] = Board(1).regions
    before = signal.signal(stacks.SIGNAL, lambda *_: None)
    try:
        stacks.listen(region)
        assert region.paper == 0
        signal.signal(stacks.SIGNAL, before)
        stacks.listen(region)
        assert os.pread(region.paper, 1000, 0).startswith(HEAD)
    finally:
        faulthandler.unregister(stacks.SIGNAL)
        signal.signal(stacks.SIGNAL, before)
        if region.paper:
            os.close(region.paper)


def test_whoever_takes_a_place_does_not_listen_yet():
    """Its predecessor's file is not its own."""
    [region] = Board(1).regions
    region.paper = 7
    region.settle(4711)
    assert region.paper == 0


def test_it_can_be_switched_off(monkeypatch):
    """By a setting, or from outside; anything else is a mistake."""
    assert stacks.are_wanted({})
    assert stacks.are_wanted({"lock_stacks": True})
    assert not stacks.are_wanted({"lock_stacks": False})
    with pytest.raises(LockConfigError, match="lock_stacks must be True or False"):
        stacks.are_wanted({"lock_stacks": "SIGUSR2"})
    for off in ("0", "false", "no"):
        monkeypatch.setenv("CELERY_LOCK_STACKS", off)
        assert not stacks.are_wanted({})


def test_a_green_thread_that_waits_is_seen(room):
    """Its stack is where it gave the thread to others."""
    gevent = pytest.importorskip("gevent")
    there, on = gevent.event.Event(), gevent.event.Event()

    def waits_for_money(user_id):
        there.set()
        on.wait()
        return user_id

    green = gevent.spawn(job(room, waits_for_money), 42)
    there.wait()
    [stack] = _stacks_with("waits_for_money")
    assert any("on.wait()" in line for line in stack)
    on.set()
    green.join()
    assert green.value == 42
    assert _stacks_with("waits_for_money") == []


def _stacks_with(function: str) -> list[list[str]]:
    return [stack for stack in running().values() if any(f"in {function}" in line for line in stack)]
