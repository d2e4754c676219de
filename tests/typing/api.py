"""A user's module: everything here must type-check under `mypy --strict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from celery import Celery, shared_task
from typing_extensions import assert_type

import celery_locks
from celery_locks import (
    AsyncLock,
    Contention,
    Fail,
    Holding,
    Lease,
    Lock,
    LockedTask,
    LockError,
    LockLost,
    Locks,
    LockTimeout,
    Requeue,
    Skip,
    current_lease,
    events,
    install,
    signals,
)

if TYPE_CHECKING:
    import datetime as dt

    from celery.result import AsyncResult

app = Celery("bank", broker="redis://localhost")
app.conf.lock_tasks = {"shop.*": {"key": "shop:{id}", "ttl": 60}}
install(app)


# Tasks: by the decorator


@app.task(base=LockedTask, lock_key="wallet:{user_id}", lock_ttl=10, lock_wait=5, lock_countdown=30)
def withdraw(user_id: int, amount: int) -> int:
    lease = current_lease()
    assert_type(lease, Lease)
    assert_type(lease.key, str)
    assert_type(lease.owner, str)
    assert_type(lease.fence, int)
    assert_type(lease.ttl, float)
    assert_type(lease.remaining, float | None)
    assert_type(lease.held(), bool)
    lease.ensure_held()
    lease.renew()
    lease.renew(60)
    return user_id + amount


class Once(LockedTask):
    abstract = True
    lock_unique = "until_start"
    lock_unique_ttl = 60

    def on_duplicate(self, first: AsyncResult[Any]) -> AsyncResult[Any]:
        raise RuntimeError(first.id)


@app.task(base=Once, lock_key="{task}:{args}")
def rebuild(user_id: int) -> int:
    return user_id


def sends() -> str:
    return str(rebuild.delay(7).id + rebuild.apply_async((7,), countdown=5).id)


@app.task(base=LockedTask, bind=True, lock_key="report:{date:%Y-%m}")
def report(self: LockedTask, date: dt.date) -> int:
    assert_type(date.year, int)
    assert_type(self.lease, Lease)
    return self.lease.fence


@shared_task(base=LockedTask, lock_on_contention="skip")
def sync(account_id: int) -> int:
    return account_id


withdraw.delay(1, 2)
withdraw.apply_async((1,), {"amount": 2}, countdown=5)
report.s(None)


# Tasks: by classes


class Wallet(LockedTask):
    abstract = True
    lock_key = "wallet:{user_id}"
    lock_ttl = 10
    lock_heartbeat = False
    lock_wait = 0.5
    lock_on_contention = "skip"
    lock_countdown = 5
    lock_max_requeues = 3
    lock_max_wait = 60
    lock_on_lost = "kill"
    lock_on_outage = "fail"
    lock_store = "fast"


class Reset(LockedTask):
    lock_countdown = "auto"
    lock_max_requeues = None
    lock_max_wait = None
    lock_store = None
    lock_on_contention = Skip(result="Processing")


class Patient(LockedTask):
    lock_on_contention = Requeue(5)


class Strict(LockedTask):
    lock_on_contention = Fail("one at a time")


class Withdraw(Wallet):
    name = "bank.withdraw_by_class"

    def run(self, user_id: int, amount: int) -> int:
        return self.lease.fence + user_id + amount


app.register_task(Withdraw())


# Tasks with callable options


def shard(user_id: int, **_: object) -> str:
    return f"shard:{user_id % 10}"


def by_line(contention: Contention) -> Requeue | Skip | Fail:
    assert_type(contention.key, str)
    assert_type(contention.holder, str | None)
    assert_type(contention.remaining, float | None)
    assert_type(contention.place, int | None)
    assert_type(contention.requeues, int)
    assert_type(contention.waited, float)
    if contention.requeues > 9:
        return Fail("too often")
    return Requeue(5) if contention.place else Skip(result="Processing")


@app.task(base=LockedTask, lock_key=shard, lock_on_contention=by_line)
def transfer(user_id: int) -> None: ...


class Sharded(LockedTask):
    lock_key = staticmethod(lambda user_id, **_: f"shard:{user_id % 10}")
    lock_on_contention = by_line


class ShardedByMethod(LockedTask):
    @staticmethod
    def lock_key(user_id: int, **_: object) -> str:
        return f"shard:{user_id % 10}"


class Transfer(LockedTask):
    lock_key = ("wallet:{source}", "wallet:{target}")


@app.task(base=LockedTask, lock_key=["wallet:{source}", "wallet:{target}"])
def move(source: int, target: int) -> int:
    lease = current_lease()
    assert_type(lease.keys, tuple[str, ...])
    assert_type(lease.fences, dict[str, int])
    assert_type(lease.of(lease.key), Lease)
    return max(lease.fences[f"wallet:{source}"], lease.fences[f"wallet:{target}"])


def both(source: int, target: int) -> list[str]:
    return [f"wallet:{source}", f"wallet:{target}"]


class TransferByCallable(LockedTask):
    lock_key = staticmethod(both)


# Plain code

locks = Locks("redis://localhost/2", prefix="bank:")
assert_type(Locks.from_app(app), Locks)
assert_type(Locks.from_app(app, "fast"), Locks)

lock = locks.lock("wallet:42", ttl=10, heartbeat=True)
assert_type(lock, Lock)
assert_type(lock.acquire(), bool)
assert_type(lock.acquire(timeout=5), bool)
assert_type(lock.acquire(True, 0.5), bool)  # noqa: FBT003 - as threading.Lock
assert_type(lock.acquire(blocking=False), bool)
assert_type(lock.locked(), bool)
assert_type(lock.owned(), bool)
assert_type(lock.remaining, float | None)
assert_type(lock.owner, str | None)
assert_type(lock.fence, int | None)
assert_type(lock.lease, Lease | None)
lock.renew()
lock.renew(60)
lock.release()

with locks.lock(["wallet:42", "wallet:7"]) as lease:
    assert_type(lease.fences["wallet:7"], int)

with locks.lock("wallet:42") as lease:
    assert_type(lease, Lease)
    assert_type(lease.fence, int)


async def handler() -> int:
    lock = locks.alock("wallet:42", ttl=10, heartbeat=True, on_lost="raise", at_least=5)
    assert_type(lock, AsyncLock)
    assert_type(await lock.acquire(timeout=5), bool)
    await lock.renew(60)
    await lock.release()
    assert_type(await lock.locked(), bool)
    assert_type(await lock.owned(), bool)
    async with locks.alock("wallet:42") as lease:
        assert_type(lease, Lease)
    assert_type(await locks.arun("import:daily", handler, ttl=900), int)
    assert_type(await locks.arun("invoice:7", handler, busy="Processing"), int | str)
    return 1


def job() -> int:
    return 1


assert_type(locks.run("import:daily", job, ttl=900), int)
assert_type(locks.run("sync", job, wait=30, ttl=600), int)
assert_type(locks.run("invoice:7", job, busy="Processing"), int | str)
assert_type(locks.run("invoice:7", job, busy=None), int | None)
assert_type(locks.run("invoice:7", lambda: "done"), str)

assert_type(locks.run(("a", "b"), job, wait=30), int)
assert_type(locks.locked("cache:warm"), bool)
assert_type(locks.holder(["cache:warm", "cache:cold"]), Holding | None)
assert_type(locks.holder("cache:warm"), Holding | None)
assert_type(locks.list("wallet:*"), list[Holding])
assert_type(locks.force_release("wallet:42"), bool)
assert_type(locks.restore("wallet:42", cast("str", lock.owner)), Lock)
locks.close()

for holding in locks.list():
    assert_type(holding.key, str)
    assert_type(holding.owner, str)
    assert_type(holding.fence, int)
    assert_type(holding.remaining, float | None)


# Errors

try:
    withdraw(1, 2)
except LockTimeout as taken:
    assert_type(taken.key, str | None)
    assert_type(taken.holder, str | None)
    assert_type(taken.message, str)
except (LockLost, LockError) as error:
    assert_type(str(error), str)


# Signals


@signals.contended.connect
def count(event: events.Contended) -> None:
    assert_type(event.key, str)
    assert_type(event.waited, float)
    assert_type(event.holder, str | None)


@signals.requeued.connect
def requeued(event: events.Requeued) -> None:
    assert_type(event.delay, float)
    assert_type(event.attempts, int)


def any_event(event: events.Event) -> None:
    assert_type(event.task, str | None)
    assert_type(event.pid, int)


signals.acquired.connect(any_event)
signals.released.connect(any_event)
signals.acquired.disconnect(any_event)
seen: list[Any] = []
signals.lost.connect(seen.append)

assert_type(celery_locks.LockedTask.lock_ttl, float)
