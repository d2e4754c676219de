"""The Celery face: a task whose jobs lock a key made from their own arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from celery import Task

from celery_locks.adopted import REQUEST, Call, applied, lease_of, performed, sent
from celery_locks.annotation import attend, is_celerys_own, lock_bound, planned, tasks_of
from celery_locks.options import Options

if TYPE_CHECKING:
    from celery.result import AsyncResult, EagerResult

    from celery_locks.keys import KeySource
    from celery_locks.lease import Lease
    from celery_locks.options import Countdown, OnLost, OnOutage, Unique
    from celery_locks.plan import Plan
    from celery_locks.policies import Policy

if TYPE_CHECKING:
    _Task = Task[..., Any]
else:
    _Task = Task


class LockedTask(_Task):
    """A task whose jobs hold a lock on a key while they run.

        @app.task(base=LockedTask, lock_key="wallet:{user_id}", lock_ttl=10)
        def withdraw(user_id, amount): ...

    A job that finds its key taken goes back to its queue, unless its options say otherwise. Called directly, it takes
    the lock and raises `LockTimeout` when the key is taken. Options may also come from `task_annotations`, and
    their defaults from settings of the same names.
    """

    abstract = True
    Request = REQUEST

    lock_key: ClassVar[KeySource] = Options.key
    lock_ttl: ClassVar[float] = Options.ttl
    lock_heartbeat: ClassVar[bool] = Options.heartbeat
    lock_wait: ClassVar[float] = Options.wait
    lock_on_contention: ClassVar[Policy] = Options.on_contention
    lock_countdown: ClassVar[Countdown] = Options.countdown
    lock_max_requeues: ClassVar[int | None] = Options.max_requeues
    lock_max_wait: ClassVar[float | None] = Options.max_wait
    lock_on_lost: ClassVar[OnLost] = Options.on_lost
    lock_on_outage: ClassVar[OnOutage] = Options.on_outage
    lock_store: ClassVar[str | None] = Options.store
    lock_fair: ClassVar[bool] = Options.fair
    lock_slots: ClassVar[int] = Options.slots
    lock_shared: ClassVar[bool] = Options.shared
    lock_unique: ClassVar[Unique | None] = Options.unique
    lock_unique_ttl: ClassVar[float] = Options.unique_ttl
    lock_at_least: ClassVar[float] = Options.at_least

    _declares_lock_options = True
    _plan: ClassVar[Plan | None] = None

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Check the declaration: a mistake in it is found before there is a job."""
        super().on_bound(app)
        if attend(app):
            lock_bound(app)
        cls._plan = None
        for name in [cls.name] if cls.name else [task.name for task in tasks_of(cls, app)]:
            if not is_celerys_own(cls, name):
                cls._plan = planned(cls, app, name)

    @property
    def lease(self) -> Lease:
        """The lease of the job that runs now. Raises `LockError` outside a job."""
        return lease_of(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the job under its lock."""
        call = super().__call__
        if is_celerys_own(type(self), self.name):
            return call(*args, **kwargs)
        # A task whose declaration was refused has no plan, and says so again instead of running unlocked.
        plan = self._plan or planned(type(self), self.app, self.name)
        is_celerys = getattr(call, "__func__", None) is Task.__call__
        return performed(self, plan, Call(call, args, kwargs, is_celerys))

    def apply_async(self, args: Any = None, kwargs: Any = None, *more: Any, **options: Any) -> AsyncResult[Any]:
        """Send a job. With `lock_unique` it is not sent while another has its place, whose result is given then."""
        publish = super().apply_async
        if is_celerys_own(type(self), self.name):
            return publish(args, kwargs, *more, **options)
        plan = self._plan or planned(type(self), self.app, self.name)
        result: AsyncResult[Any] = sent(self, plan, publish, args, kwargs, *more, **options)
        return result

    def on_duplicate(self, first: AsyncResult[Any]) -> AsyncResult[Any]:
        """What a send gives that was not done, because this first job has its place. Override it to raise instead."""
        return first

    def apply(self, *args: Any, **kwargs: Any) -> EagerResult[Any]:
        """Run a job here and now, as `task_always_eager` does. There is no queue to go back to: it may time out."""
        return applied(self, super().apply(*args, **kwargs))
