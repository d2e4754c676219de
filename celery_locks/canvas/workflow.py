"""Sends a workflow whose members hold one key, from the first to the last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import signature
from celery.canvas import Signature
from celery.utils.functional import maybe_list

from celery_locks.asking import keys_of
from celery_locks.canvas import plans
from celery_locks.canvas.carried import Carried
from celery_locks.canvas.marking import groups_of, mark, mark_errback, stages
from celery_locks.current import current_lease, sharing
from celery_locks.errors import LockConfigError
from celery_locks.lease import new_owner
from celery_locks.locks import Locks

if TYPE_CHECKING:
    from celery.result import AsyncResult, EagerResult

    from celery_locks.asking import Keys


def baton(canvas: Any, key: Keys, *, ttl: float | None = None, travel: float | None = None, **options: Any) -> Baton:
    """A workflow that holds a key, or several, from its first task to its last, sent by `apply_async` or `delay`.

        baton(chain(load.s(7), charge.s(), receipt.s()), "wallet:7", ttl=60).delay()

    While a task runs its worker renews the lease, for `ttl` seconds. While a message waits in its queue nobody does:
    the lease lasts for `travel` seconds, or `ttl`. A task whose message waits for longer takes the key anew, and others
    may have had it in between: its fence is higher then. What is linked to the end (`link`) comes after it, without
    the key.
    """
    return Baton(canvas, key, {**options, **({} if ttl is None else {"ttl": ttl})}, travel)


class Baton:
    """A workflow and the key that its members hold. It can be sent as often as you like; each time it is another."""

    def __init__(self, canvas: Any, key: Keys, options: dict[str, Any], travel: float | None) -> None:
        #: All its keys, sorted; `key` is the first.
        self.keys = keys_of(key)
        self.key = self.keys[0]
        where = self._where = f"baton on {[*self.keys] if self.keys[1:] else self.key!r}"
        if not isinstance(canvas, Signature):
            raise LockConfigError(
                f"{where}: a baton goes through a chain, a chord or a task's signature, not {canvas!r}"
            )
        self._canvas, self._app = canvas, canvas.app
        self._options = plans.checked(self._app, where, options)
        self._travel = plans.travel_of(where, travel, self._options.ttl)
        # A mistake is found here, and not by whoever sends it.
        self._marked({})
        _check_app(self._app, where)
        self._locks = Locks.from_app(self._app, self._options.store)
        if not self._locks.store.hands_over:
            raise LockConfigError(
                f"{where}: {self._locks.store!r} cannot hand a lock over from one process to another: set lock_store,"
                " or store=..., to Redis, etcd or sql+..."
            )

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Send it, with these arguments for its first task."""
        return self.apply_async(args, kwargs)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> AsyncResult[Any]:
        """Send it. The first task takes the key, in its worker: until then nothing is held."""
        if self._app.conf.task_always_eager:
            return self.apply(args, kwargs, **options)
        result: AsyncResult[Any] = self._marked(options).apply_async(args, kwargs, **options)
        return result

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> EagerResult[Any]:
        """Do it here and now. Raises `LockTimeout` when the key is taken."""

        def work() -> Any:
            with sharing(current_lease(), self._locks.store):
                return self._canvas.apply(args, kwargs, **options)

        result: EagerResult[Any] = self._locks.run(
            self.keys, work, ttl=self._options.ttl, wait=self._options.wait, heartbeat=True
        )
        return result

    def _marked(self, sent: dict[str, Any]) -> Any:
        """The canvas as it is sent. What it is sent with goes into it, as far as it would undo that."""
        plain = _plain(self._canvas)
        try:
            first = stages(plain)[0]
        except IndexError:
            raise LockConfigError(f"{self._where}: the canvas is empty: put a task into it") from None
        headers = sent.pop("headers", None)
        for member in first.members:
            if headers:
                member["options"]["headers"] = {**(member["options"].get("headers") or {}), **headers}
        ttl, told = self._options.ttl, plans.told(self._options)
        owner = new_owner("baton")
        carried = Carried(self.key, owner, "1", None, False, ttl, self._travel, told, self.keys[1:])  # noqa: FBT003
        mark(plain, carried)
        if sent.get("link_error"):
            sent["link_error"] = [_plain(each) for each in maybe_list(sent["link_error"])]
            for errback in sent["link_error"]:
                mark_errback(errback, carried, groups_of(plain, carried.step))
            sent["link_error"] = [signature(each, app=self._app) for each in sent["link_error"]]
        return signature(plain, app=self._app)


def _check_app(app: Any, where: str) -> None:
    if "celery_locks.worker:Keeping" not in app.steps["worker"]:
        raise LockConfigError(
            f"{where}: the workers of this app know nothing of locks, and would run its tasks without: call"
            " celery_locks.install(app) where the app is made"
        )


def _plain(value: Any) -> Any:
    """A copy of a signature as it would be in a message. Arguments are those that were given."""
    if isinstance(value, Signature):
        options = {name: _linked(name, each) for name, each in value["options"].items()}
        return {**value, "kwargs": _parts(value), "options": options}
    return value


def _parts(value: Any) -> Any:
    inner = {"chain": ("tasks",), "group": ("tasks",), "chord": ("header", "body")}.get(value.get("subtask_type"), ())
    return {name: _copied(each) if name in inner else each for name, each in value["kwargs"].items()}


def _copied(value: Any) -> Any:
    return _plain(value) if isinstance(value, dict) else [_plain(each) for each in value]


def _linked(name: str, value: Any) -> Any:
    if name == "link_error":
        return [_plain(each) for each in maybe_list(value)]
    return dict(value) if isinstance(value, dict) else value
