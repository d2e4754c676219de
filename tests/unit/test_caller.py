"""Jobs that are called are started in the worker's own loop or timer, and by nobody after the end."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace

import pytest

from celery_locks.worker.held import Caller


class Hub:
    """An event loop that reads when it is told to."""

    def __init__(self):
        self.readers: dict[int, object] = {}

    def add_reader(self, fd, callback):
        self.readers[fd] = callback

    def remove_reader(self, fd):
        del self.readers[fd]

    def turn(self):
        for callback in list(self.readers.values()):
            callback()


class Fails:
    def start(self):
        raise RuntimeError("the pool is closed")


class Begins:
    def __init__(self, story, name):
        self.story, self.name = story, name

    def start(self):
        self.story.append((self.name, threading.current_thread()))


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def caller(hub: Hub) -> Caller:
    return Caller(SimpleNamespace(hub=hub))


def test_a_call_from_a_thread_starts_jobs_in_the_loop(hub, caller):
    """In the order of the calls."""
    story: list = []
    calls = [threading.Thread(target=caller.call, args=(Begins(story, name),)) for name in "abc"]
    for call in calls:
        call.start()
        call.join()
    assert story == []
    hub.turn()
    hub.turn()
    assert story == [(name, threading.current_thread()) for name in "abc"]
    caller.close()


def test_more_calls_than_a_pipe_can_hold_are_all_heard(hub, caller):
    """A full pipe has woken the loop already."""
    story: list = []
    for number in range(70_000):
        caller.call(Begins(story, number))
    hub.turn()
    assert len(story) == 70_000
    caller.close()


def test_where_there_is_no_loop_the_timer_starts_them():
    """Its thread is the one that would have started them later."""
    later: list = []
    timer = SimpleNamespace(call_after=lambda seconds, fun: later.append((seconds, fun)))
    caller = Caller(SimpleNamespace(hub=None, timer=timer))
    story: list = []
    caller.call(Begins(story, "a"))
    assert story == []
    assert [seconds for seconds, _ in later] == [0]
    later[0][1]()
    assert len(story) == 1
    caller.close()


def test_one_that_cannot_be_started_is_no_harm_to_the_next_nor_to_the_loop(hub, caller, caplog):
    """An error in a reader of the loop would end the worker."""
    story: list = []
    caller.call(Fails())
    caller.call(Begins(story, "b"))
    hub.turn()
    assert [name for name, _ in story] == ["b"]
    assert "the pool is closed" in caplog.text
    caller.close()


def test_after_the_end_nobody_is_started(hub, caller):
    """The messages of those who wait have gone back to the broker: neither those called before nor those after."""
    story: list = []
    caller.call(Begins(story, "a"))
    turn = next(iter(hub.readers.values()))
    caller.close()
    assert hub.readers == {}
    caller.call(Begins(story, "b"))
    caller._pipe = None
    turn()
    assert story == []


def test_a_closed_pipe_is_not_written_to(caller):
    """Its number may be that of another file by then: the broker's connection, say."""
    caller.close()
    pipes = [os.pipe() for _ in range(4)]
    assert caller._pipe[1] in [end for pipe in pipes for end in pipe]
    caller.call(Begins([], "a"))
    for read, write in pipes:
        os.close(write)
        assert os.read(read, 1) == b""
        os.close(read)
