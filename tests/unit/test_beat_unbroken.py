"""The end of a beat waits until what was published is noted."""

from __future__ import annotations

import signal
import threading

import pytest

from celery_locks.beat.unbroken import unbroken
from tests.unit.beats import Beats


class Ended(Exception):
    """What a handler of beat raises."""


@pytest.fixture(params=[signal.SIGTERM, signal.SIGINT])
def number(request: pytest.FixtureRequest):
    """A signal that ends beat, as Celery handles it."""

    def end(*_) -> None:
        raise Ended

    before = signal.signal(request.param, end)
    yield request.param
    signal.signal(request.param, before)


@unbroken()
def step(done: list[int], *numbers: int) -> None:
    """Something that signals strike."""
    for number in numbers:
        signal.raise_signal(number)
    done.append(1)


def test_a_signal_waits(number: int) -> None:
    """It is heard when the step is done, and not before; then its handler is as it was."""
    done: list[int] = []
    with pytest.raises(Ended):
        step(done, number)
    assert done == [1]
    with pytest.raises(Ended):
        signal.raise_signal(number)


def test_a_second_one_does_not_wait(number: int) -> None:
    """Whoever asks twice means it: a broker may hang for as long as it likes."""
    done: list[int] = []
    with pytest.raises(Ended):
        step(done, number, number)
    assert done == []


def test_an_error_of_the_step_gives_way_to_the_end(number: int) -> None:
    """The process was to end."""
    with pytest.raises(Ended):
        step(None, number)  # type: ignore[arg-type]  # to which nothing can be added


def test_another_thread_is_never_interrupted() -> None:
    """A beat that a worker carries sends from a thread, where handlers cannot be set."""
    done: list[int] = []
    thread = threading.Thread(target=step, args=(done,))
    thread.start()
    thread.join()
    assert done == [1]


def test_a_beat_that_is_ended_while_it_publishes(number: int) -> None:
    """It notes what it has published, gives back the lead, and the next sends nothing twice."""
    beats = Beats()
    first, second = beats.new(), beats.new()
    beats.run(5.5, first, second)

    def end(*_) -> None:
        # As Celery does it: first what is to be kept, in the handler.
        first.close()
        assert first._lead.held(), "in the middle of a tick nothing is given back"
        raise SystemExit

    signal.signal(number, end)
    beats.strikes_after.append(lambda _: signal.raise_signal(number))
    with pytest.raises(SystemExit):
        beats.run(1.0, first)
    first.close()
    beats.run(2.0, second)
    assert beats.seconds() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert second._lead.held()
