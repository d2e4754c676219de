"""A queue on paper: what is sent to it is kept, and run when a test says so."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

import pytest
from celery.app.task import Context
from celery.utils import uuid

from celery_locks.lease import Busy
from tests.unit import bank

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from tests.unit.fakes import Room

PLACE = "unique:bank.withdraw:wallet:42"


class Mail:
    """A task that is sent once, the messages of its jobs, and what becomes of them."""

    def __init__(self, room: Room, **options: Any) -> None:
        self.room = room
        self.sent: list[dict[str, Any]] = []
        self.runs: list[tuple[Any, ...]] = []
        self.fails: BaseException | None = None
        self.on_publish: Callable[[], object] = lambda: None
        self.body: Callable[..., Any] = lambda *_: "done"

        def run(task: Any, user_id: int, amount: int = 10) -> Any:
            self.runs.append((user_id, amount))
            return self.body(task)

        made = bank.task(run, room=room, **{"lock_key": "wallet:{user_id}", "bind": True, **options})
        self.task = made._get_current_object() if hasattr(made, "_get_current_object") else made
        self.task.app.send_task = self._publish

    def _publish(self, name: str, args: Any, kwargs: Any, **message: Any) -> Any:
        self.on_publish()
        if self.fails:
            raise self.fails
        self.sent.append({"name": name, "args": args or (), "kwargs": kwargs or {}, **message})
        return self.task.AsyncResult(message["task_id"] or uuid())

    def holder(self) -> str | None:
        """Who has the place."""
        return self.room.holder(PLACE)

    def left(self) -> float:
        """How long the place lasts."""
        holding = self.room.store.memory.inspect(PLACE)
        assert holding
        return holding.remaining

    def run(self, message: dict[str, Any], **more: Any) -> Any:
        """Run a message as a worker does: the result, or what the job raised."""
        request = {
            "id": message["task_id"],
            "args": list(message["args"]),
            "kwargs": message["kwargs"],
            "headers": message.get("headers"),
            "retries": message.get("retries", 0),
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "called_directly": False,
            **more,
        }
        self.task.request_stack.push(Context(request))
        try:
            return self.task(*message["args"], **message["kwargs"])
        except BaseException as error:  # noqa: BLE001 - how it ended is what is looked at
            return error
        finally:
            self.task.pop_request()

    def run_elsewhere(self, message: dict[str, Any], **more: Any) -> Any:
        """As in another process, which knows nothing of what runs in this one."""
        return contextvars.Context().run(self.run, message, **more)


@pytest.fixture
def mail(room: Room) -> Callable[..., Mail]:
    """A task whose jobs are unique until they are done, unless said otherwise."""
    return lambda **options: Mail(room, **{"lock_unique": "until_done", **options})


def striking(room: Room, monkeypatch: pytest.MonkeyPatch, verb: str, error: BaseException, *, done: bool) -> None:
    """The next call of the verb for the place is struck, before the store has done it or after."""
    plain, struck = getattr(room.store, verb), []

    def strike(claim: Any) -> Any:
        if claim.key != PLACE or struck:
            return plain(claim)
        struck.append(claim)
        if done:
            plain(claim)
        raise error

    monkeypatch.setattr(room.store, verb, strike)


@pytest.fixture
def refusing(room, monkeypatch):
    """A store that refuses owners which were done, as Redis does."""
    done, plain_acquire, plain_release = set(), room.store.acquire, room.store.release

    def acquire(claim):
        return Busy() if claim.owner in done else plain_acquire(claim)

    def release(claim):
        done.add(claim.owner)
        return plain_release(claim)

    monkeypatch.setattr(room.store, "acquire", acquire)
    monkeypatch.setattr(room.store, "release", release)


def eager(mail: Mail) -> Celery:
    mail.task.app.conf.task_always_eager = True
    return mail.task.app
