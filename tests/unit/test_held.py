"""A job that is held by a worker: started once, by its turn or when its time is over."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import pytest

from celery_locks.worker.held import Held


class Entry:
    """What a timer gives back: it can be looked through for its arguments."""

    def __init__(self, fun, args):
        self.fun, self.args = fun, args


class Timer:
    """What Celery calls its timer's `call_at`; nothing happens by itself."""

    def __init__(self):
        self.entries: list[tuple[float, Entry]] = []
        self.named: list[dict] = []

    def __call__(self, eta, fun, args=(), **named):
        entry = Entry(fun, args)
        self.entries.append((eta, entry))
        self.named.append(named)
        return entry

    def over(self):
        """The time of the last entry is over."""
        entry = self.entries[-1][1]
        entry.fun(*entry.args)


class Job:
    """Counts its starts, and what is asked before."""

    def __init__(self, *more: float | None):
        self.more = list(more)
        self.story: list[str] = []
        self.request = SimpleNamespace(timed=lambda entry: setattr(self, "entry", entry))
        self.held = Held(self.request, more=self._more, leave=lambda: self.story.append("leaves"))
        self.timer = Timer()
        self.entry = None

    def _more(self):
        return self.more.pop(0) if self.more else None

    def begin(self, *_):
        self.story.append("starts")

    def timed(self):
        return self.held.timed(self.timer, 100.0, self.begin, (self.request,), priority=6)


@pytest.fixture
def job() -> Job:
    return Job()


def test_a_held_job_starts_when_its_time_is_over(job):
    """As every job with a countdown."""
    entry = job.timed()
    assert job.timer.entries == [(100.0, entry)]
    assert job.timer.named == [{"priority": 6}]
    job.timer.over()
    assert job.story == ["leaves", "starts"]


def test_a_held_job_is_found_by_who_looks_through_the_timer(job):
    """`celery inspect scheduled` shows the arguments of an entry: the first is the request."""
    assert job.timed().args == (job.request,)


def test_a_turn_starts_a_held_job_once(job):
    """Its time is over later, or it is called again: nothing happens then."""
    job.timed()
    job.held.start()
    job.held.start()
    job.timer.over()
    assert job.story == ["leaves", "starts"]


def test_a_turn_that_comes_before_the_timer_is_set_is_not_lost(job):
    """Where timers have threads of their own, the message is still being received."""
    job.held.start()
    assert job.story == []
    job.timed()
    assert job.story == ["leaves", "starts"]
    job.timer.over()
    assert job.story == ["leaves", "starts"]


def test_a_turn_that_comes_while_the_timer_is_set_starts_it(job):
    """The entry is not known yet."""
    plain = job.timer

    def slow(eta, fun, args=(), **named):
        job.held.start()
        return plain(eta, fun, args, **named)

    job.held.timed(slow, 100.0, job.begin, (job.request,))
    job.timer.over()
    assert job.story == ["leaves", "starts"]


def test_a_time_that_is_over_while_the_timer_is_set_starts_or_lengthens_it():
    """A timer with a thread of its own does not wait for who has set it."""
    for more, story in (((), ["leaves", "starts"]), ((30.0,), [])):
        job = Job(*more)
        plain, struck = job.timer, []

        def hasty(eta, fun, args=(), plain=plain, struck=struck, **named):
            entry = plain(eta, fun, args, **named)
            if not struck:
                struck.append(eta)
                fun(*args)
            return entry

        job.held.timed(hasty, 100.0, job.begin, (job.request,))
        assert job.story == story
        assert [eta for eta, _ in plain.entries] == ([100.0, 130.0] if more else [100.0])


def test_a_started_job_is_not_kept_by_the_timer(job):
    """Its entry stays until its time is over, and thousands of them would keep their jobs' arguments."""
    entry = job.timed()
    job.held.start()
    assert entry.args == ()


def test_a_green_timer_keeps_no_started_job_either(job):
    """Its entries are greenlets, with the entry inside."""
    inside = Entry(None, (job.request,))
    job.held.timed(lambda *_, **__: SimpleNamespace(entry=inside), 100.0, job.begin, (job.request,))
    job.held.start()
    assert inside.args == ()


def test_a_held_job_may_be_given_more_time():
    """It waits on, counted from its old time, as often as it is given more; Celery cancels the entry that counts."""
    job = Job(30.0, 20.0)
    job.timed()
    job.timer.over()
    job.timer.over()
    assert job.story == []
    assert [eta for eta, _ in job.timer.entries] == [100.0, 130.0, 150.0]
    assert job.entry is job.timer.entries[-1][1]
    assert [entry.args for _, entry in job.timer.entries] == [(), (), (job.request,)]
    assert job.timer.named == [{"priority": 6}] * 3
    job.timer.over()
    assert job.story == ["leaves", "starts"]


def test_one_that_was_started_asks_for_no_more_time():
    """Its timer goes off later and finds nothing to do."""
    job = Job(30.0)
    job.timed()
    job.held.start()
    job.timer.over()
    assert job.more == [30.0]
    assert len(job.timer.entries) == 1


def test_one_that_may_not_start_yet_starts_when_it_is_called_again():
    """What is being shown of it must not come after its end."""
    may, starts = [False, True], []
    held = Held(Request(), more=lambda: None, leave=lambda: None, may_start=lambda: may.pop(0))
    held.timed(Timer(), 100.0, lambda *_: starts.append(1), (1,))
    held.start()
    assert starts == []
    held.start()
    assert starts == [1]


# What stays in memory


class Request:
    """Can be referred to weakly."""

    def timed(self, entry):
        """As a request notes its timer's entry."""


def test_a_job_that_was_started_is_not_kept_alive():
    """Its timer entry is, until the countdown would have ended: it must not hold the message."""
    timer, held, request = Timer(), None, Request()
    held = Held(request, more=lambda: None, leave=lambda: None)
    held.timed(timer, 100.0, lambda *_: None, (request,))
    gone = weakref.ref(request)
    held.start()
    del request
    gc.collect()
    assert gone() is None
    timer.over()
