"""Jobs of an app that knows nothing of locks, but for its configuration and one line."""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery, Task, shared_task
from celery.worker.request import Request

import celery_locks
from tests.acceptance.bodies import BrokenJobError, fails, stays_open, work
from tests.acceptance.journal import Journal
from tests.acceptance.queues import configure
from tests.acceptance.stubborn import holds_the_interpreter

app = Celery("foreign")
configure(app)
app.conf.update(json.loads(os.environ["ACCEPTANCE_CONF"]))
app.conf.lock_tasks = {
    "foreign.*": {"key": "{key}", "countdown": 60.0},
    "foreign.short_*": {"key": "{key}", "ttl": 2.0},
    "foreign.open": {"key": "{key}", "ttl": 300.0},
    "foreign.single": {"key": "{key}", "ttl": 60.0, "unique": "until_done"},
    "foreign.none_such": {},
    "*": {"key": "a glob for all that is not Celery's own"},
}
celery_locks.install(app)


class CallsItself(Task):
    """A base class of a project, with a call of its own."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Note that it was called."""
        Journal.of_this_process().write("called", key=kwargs["key"], job=kwargs["job"])
        return super().__call__(*args, **kwargs)


class OwnRequest(Request):
    """A request class of a project."""

    def on_accepted(self, *given: Any, **named: Any) -> Any:
        """Note that it was asked."""
        Journal.of_this_process().write("accepted", key=self.kwargs["key"], job=self.kwargs["job"])
        return super().on_accepted(*given, **named)


class ByClass(Task):
    """A task written as a class, without a name."""

    Request = OwnRequest

    def run(self, key: str, job: str, seconds: float = 0.0) -> str:
        """As every other job."""
        assert self.lease.key == key  # type: ignore[attr-defined]  # a property that it was given
        return work(self, key, job, seconds)


@shared_task(name="foreign.shared")
def shared(key: str, job: str, seconds: float = 0.0) -> str:
    """A task that is not bound."""
    return work(app.current_task, key, job, seconds)


def declare(name: str, body: Any = work, **options: Any) -> None:
    """A plain task."""
    app.task(body, bind=True, name=f"foreign.{name}", **options)


declare("work")
declare("own_call", base=CallsItself)
declare("autoretry", fails, autoretry_for=(BrokenJobError,), default_retry_delay=1, max_retries=3)
declare("short_holds_the_interpreter", holds_the_interpreter)
declare("short_work")
declare("open", stays_open)
declare("single", stays_open)
by_class = ByClass()
by_class.name = "foreign.by_class"  # type: ignore[misc]  # as Celery does it
app.register_task(by_class)
