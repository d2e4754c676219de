"""What a worker says when it starts of what its pool cannot do for a job whose lease is lost."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.concurrency import prefork, solo, thread

from celery_locks import LockedTask
from celery_locks.worker.pools import say_limits


def job() -> None:
    """Nothing."""


class Green(thread.TaskPool):
    """A pool like gevent's: nothing in it can be interrupted."""

    __module__ = "celery.concurrency.gevent"


@pytest.fixture
def said(caplog):
    """What a worker with this kind of pool says, whose tasks ask for these things."""

    def say(pool, *ways):
        app = Celery("bank", set_as_current=False)
        for number, way in enumerate(ways):
            app.task(
                job, base=LockedTask, shared=False, name=f"{way} {number}", lock_on_lost=way, lock_store="memory://"
            )
        app.finalize()
        with caplog.at_level(logging.WARNING, "celery_locks.worker"):
            # Without __init__, which would make threads.
            say_limits(SimpleNamespace(app=app, pool=object.__new__(pool)))
        # Threads of other tests may have something to say of their own.
        return [record.getMessage() for record in caplog.records if record.name == "celery_locks.worker"]

    return say


@pytest.mark.parametrize(("pool", "name"), [(thread.TaskPool, "thread"), (Green, "gevent")])
@pytest.mark.parametrize("way", ["raise", "kill"])
def test_a_pool_that_cannot_interrupt_says_so(said, pool, name, way):
    """Once for all tasks, naming them and what happens instead."""
    [line] = said(pool, way, "flag")
    assert f"({name})" in line
    assert f"like {way} 0 whose" in line
    assert "runs on to its end" in line


def test_many_tasks_are_one_line(said):
    """It names some of them."""
    [line] = said(thread.TaskPool, *["raise", "kill"] * 2)
    assert "like kill 1, kill 3, raise 0, ... whose" in line


def test_a_solo_pool_only_cannot_kill(said):
    """Its jobs are in the main thread: they are interrupted."""
    assert said(solo.TaskPool, "raise", "flag") == []
    [line] = said(solo.TaskPool, "kill")
    assert "'kill' is 'raise' in a solo pool, for tasks like kill 0" in line


def test_nothing_is_said_where_all_is_done(said):
    """A prefork pool can do all of it, and whoever only flags a loss asks for none of it."""
    assert said(prefork.TaskPool, "raise", "kill") == []
    assert said(thread.TaskPool, "flag") == []
