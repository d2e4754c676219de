"""The Celery face: a task whose jobs lock a key made from their own arguments."""

from __future__ import annotations

import contextlib
from typing import IO, TYPE_CHECKING, Any, ClassVar

import click
from celery import Task, states
from celery.exceptions import TaskRevokedError
from celery.result import EagerResult

from celery_locks.current import current_lease
from celery_locks.errors import LockConfigError, LockError
from celery_locks.execution import LEASE, Execution, Skipped
from celery_locks.lease import Lease
from celery_locks.options import Options
from celery_locks.plan import Plan
from celery_locks.unique import Place, Sending

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.result import AsyncResult

    from celery_locks.keys import KeySource
    from celery_locks.options import Countdown, OnLost, OnOutage, Unique
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
    Request = "celery_locks.worker:LockedRequest"

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

    _declares_lock_options = True
    _plan: ClassVar[Plan | None] = None

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Check the declaration: a mistake in it is found before there is a job."""
        super().on_bound(app)
        app.steps["consumer"].add("celery_locks.worker:Line")
        app.steps["worker"].update(("celery_locks.worker:Keeping", "celery_locks.worker:Ending"))
        cls._plan = None
        if not _is_celerys_own(cls):
            cls._plan = _planned(cls, app)

    @property
    def lease(self) -> Lease:
        """The lease of the job that runs now. Raises `LockError` outside a job."""
        lease = (self.request.properties or {}).get(LEASE) or self._called_by_hand()
        if isinstance(lease, Lease):
            return lease
        raise LockError(f"task {self.name} holds no lease here: self.lease works inside a running job")

    def _called_by_hand(self) -> Lease | None:
        # Before version 5.5 Celery puts a blank request on top of a direct call.
        with contextlib.suppress(LockError):
            lease = current_lease()
            return lease if lease.claim.task == self.name else None
        return None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the job under its lock."""
        if _is_celerys_own(type(self)):
            return super().__call__(*args, **kwargs)
        # A task whose declaration was refused has no plan, and says so again instead of running unlocked.
        plan = self._plan or Plan.of(type(self), self.app)
        if plan.options.unique and (place := Place.of(self, plan)):
            return place.run(lambda begin: self._locked(plan, args, kwargs, begin))
        return self._locked(plan, args, kwargs)

    def _locked(
        self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], begin: Callable[[], None] | None = None
    ) -> Any:
        call = super().__call__
        execution = Execution(self, plan, args, kwargs)
        # Celery's own __call__ hides a job's request behind a blank one before version 5.5: go past it.
        body = self.run if execution.traced and getattr(call, "__func__", None) is Task.__call__ else call

        def work() -> Any:
            if begin:
                begin()
            return body(*args, **kwargs)

        return execution.run(work)

    def apply_async(
        self, args: Any = None, kwargs: Any = None, task_id: Any = None, *more: Any, **options: Any
    ) -> AsyncResult[Any]:
        """Send a job. With `lock_unique` it is not sent while another has its place, whose result is given then."""
        publish = super().apply_async
        if _is_celerys_own(type(self)):
            return publish(args, kwargs, task_id, *more, **options)
        plan = self._plan or Plan.of(type(self), self.app)
        if not plan.options.unique or self.app.conf.task_always_eager:
            return publish(args, kwargs, task_id, *more, **options)

        def published(*, task_id: str, headers: dict[str, Any]) -> Any:
            return publish(args, kwargs, task_id, *more, **{**options, "headers": headers})

        result: AsyncResult[Any] = Sending(self, plan, task_id, options).send(args, kwargs, published)
        return result

    def on_duplicate(self, first: AsyncResult[Any]) -> AsyncResult[Any]:
        """What a send gives that was not done, because this first job has its place. Override it to raise instead."""
        return first

    def apply(self, *args: Any, **kwargs: Any) -> EagerResult[Any]:
        """Run a job here and now, as `task_always_eager` does. There is no queue to go back to: it may time out."""
        result = super().apply(*args, **kwargs)
        if isinstance(result.result, Skipped):
            return EagerResult(result.id, TaskRevokedError(str(result.result)), states.REVOKED, name=self.name)
        return result


class Refused(LockConfigError, click.ClickException):  # type: ignore[misc, override]  # its message is never set
    """A declaration that cannot be. Celery's command line shows it as one line, without a traceback, and stops."""

    def __init__(self, message: str, key: str | None = None, holder: str | None = None) -> None:
        Exception.__init__(self, message, key, holder)

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it for the command line."""
        click.echo(f"Error: {self}", file=file, err=True)


def _planned(cls: type[LockedTask], app: Any) -> Plan:
    try:
        return Plan.of(cls, app)
    except LockConfigError as error:
        raise Refused(error.message) from None


def _is_celerys_own(cls: type[LockedTask]) -> bool:
    """Celery's built-in tasks become locked ones when an app is made with `task_cls=LockedTask`: leave them alone."""
    return cls.name.startswith("celery.") and cls.__module__.startswith("celery.")
