"""A user's mistakes: each line marked with an error must be one, and no other line."""

# ruff: noqa: B018, RUF012 - an expression of no use and a set in a class are among the mistakes

from __future__ import annotations

from celery_locks import Contention, LockedTask, Locks, Requeue, current_lease, events, signals
from celery_locks.rq import locked as rq_locked


class Wrong(LockedTask):
    lock_key = {"a", "b"}  # error: assignment
    lock_ttl = "10"  # error: assignment
    lock_heartbeat = 3  # error: assignment
    lock_wait = None  # error: assignment
    lock_on_contention = "drop"  # error: assignment
    lock_countdown = "soon"  # error: assignment
    lock_max_requeues = 1.5  # error: assignment
    lock_max_wait = "60"  # error: assignment
    lock_on_lost = "stop"  # error: assignment
    lock_on_outage = "skip"  # error: assignment
    lock_store = 7  # error: assignment


class WrongKey(LockedTask):
    @staticmethod
    def lock_key(user_id: int) -> int:  # error: override
        return user_id


def nonsense(contention: Contention) -> str:
    contention.requeues = 0  # error: misc
    contention.queue  # error: attr-defined
    return contention.key


class WrongCallable(LockedTask):
    lock_on_contention = nonsense  # error: assignment


Requeue("soon")  # error: arg-type

locks = Locks("redis://localhost")
Locks()  # error: call-arg
Locks(6379)  # error: arg-type
locks.lock(42)  # error: arg-type
locks.lock("wallet:42", ttl="10")  # error: arg-type
locks.lock("wallet:42", 10)  # error: call-arg
locks.lock("wallet:42", slot=3)  # error: call-arg
locks.lock("wallet:42").acquire(timeout="5")  # error: arg-type
locks.run("wallet:42", lambda: 1, wait=None)  # error: arg-type
locks.restore("wallet:42", None)  # error: arg-type


def no_job() -> None:
    locks.run("wallet:42")  # error: call-arg


def no_callable_job() -> None:
    locks.run("wallet:42", "job")  # error: arg-type


def job() -> int:
    return 1


number: int = locks.run("wallet:42", job, busy="Processing")  # error: assignment

with locks.lock("wallet:42") as lease:
    lease.fence + "1"  # error: operator
    lease.token  # error: attr-defined

current_lease().fence.upper()  # error: attr-defined
locks.lock("wallet:42").fence + 1  # error: operator


@rq_locked
def rq_job(user_id: int) -> None: ...


@rq_locked(key="job:{user_id}")
def rq_keyed_job(user_id: int) -> None: ...


rq_job("7")  # error: arg-type
rq_keyed_job()  # error: call-arg
rq_locked(key=7)  # error: call-overload


def on_lost(event: events.Lost) -> None: ...


signals.contended.connect(on_lost)  # error: arg-type


def takes_nothing() -> None: ...


signals.contended.connect(takes_nothing)  # error: arg-type
