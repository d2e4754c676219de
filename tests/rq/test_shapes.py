"""What may be decorated, and how it may be called."""

from __future__ import annotations

import pytest
from rq import Queue

from celery_locks import LockConfigError
from celery_locks.rq import LockedSimpleWorker, locked
from celery_locks.rq.taking import finished
from tests.rq.jobs import stay


class Account:
    """What it does has the same key, however it is called."""

    @locked(key="{folder}")
    def add(self, folder, name):
        return stay(folder, name)

    @staticmethod
    @locked(key="{folder}")
    def static(folder, name):
        return stay(folder, name)

    @classmethod
    @locked(key="{folder}")
    def of_class(cls, folder, name):
        return stay(folder, name)

    @locked(key="{folder}")
    def __call__(self, folder, name):
        return stay(folder, name)


def test_methods_of_all_kinds_as_jobs_and_by_hand(yard, monkeypatch):
    """In one process, as that of a simple worker: a call by hand is given the instance, and a job is not."""
    monkeypatch.setenv("CELERY_LOCK_STORE", yard.server.url)
    account, key = Account(), yard.key
    sent = [
        yard.send(account.add, "a"),
        yard.queue.enqueue(account.add, folder=key, name="b"),
        yard.send(Account.static, "c"),
        yard.queue.enqueue("tests.rq.test_shapes.Account.static", key, "d"),
        yard.send(Account.of_class, "e"),
        yard.send(account, "f"),
    ]
    LockedSimpleWorker([Queue(yard.queue.name, connection=yard.connection)], connection=yard.connection).work(
        burst=True
    )
    assert {job.get_status().value for job in sent} == {"finished"}
    assert account.add(key, "g") == "g"
    assert Account.static(key, "h") == "h"
    yard.were_apart(8)


def test_a_generator_is_refused():
    """Its work would be done after the lock was given back."""

    def steps(folder):
        yield folder

    async def waits(folder):
        yield folder

    for each in (steps, waits):
        with pytest.raises(LockConfigError, match="is a generator function"):
            locked(key="{folder}")(each)
        with pytest.raises(LockConfigError, match="without the lock"):
            finished(each("a"))
