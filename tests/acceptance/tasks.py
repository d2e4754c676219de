"""The jobs that the acceptance tests' workers run, configured by their environment.

Every job takes a key and a name, locks the key, and writes its start and end to the journal.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from celery import Celery, shared_task, signals

from celery_locks import LockedTask, Skip
from tests.acceptance import wallets, witnesses
from tests.acceptance.bodies import (
    BrokenJobError,
    blunder,
    decide,
    fails,
    has_children,
    ignores,
    minds_its_limit,
    rejects,
    replaced_by_group,
    replaces_itself,
    retries_itself,
    stays_open,
    work,
)
from tests.acceptance.journal import Journal
from tests.acceptance.queues import configure

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["app", "wallets", "witnesses"]

app = Celery("acceptance")
configure(app)
app.conf.update(json.loads(os.environ.get("ACCEPTANCE_CONF", "{}")))


@signals.task_received.connect
def note_message(request: Any, **_: Any) -> None:
    """Write down each message of a job as the worker got it: one more than its re-queues."""
    message, kwargs = request.message, request.kwargs
    if "key" in kwargs and "ACCEPTANCE_JOURNAL" in os.environ:
        headers = {name: each for name, each in message.headers.items() if name not in ("argsrepr", "kwargsrepr")}
        Journal.of_this_process().write(
            "message",
            key=kwargs["key"],
            job=kwargs["job"],
            content_type=message.content_type,
            headers=headers,
            exchange=message.delivery_info.get("exchange"),
        )


@signals.task_revoked.connect
def note_revoked(request: Any, **_: Any) -> None:
    """Write down each job that is said to be revoked."""
    if "key" in request.kwargs:
        Journal.of_this_process().write("revoked", key=request.kwargs["key"], job=request.kwargs["job"])


def declare(name: str, body: Callable[..., Any] = work, **options: Any) -> Any:
    """A locked task named after what is special about it."""
    return app.task(body, bind=True, base=LockedTask, name=name, **{"lock_key": "{key}", **options})


declare("work")
declare("without_retries", max_retries=0)
declare("acks_late", acks_late=True, reject_on_worker_lost=True)
declare("short_lease", lock_ttl=2.0)
declare("short_lease_acks_late", lock_ttl=1.5, acks_late=True, reject_on_worker_lost=True)
declare("skip", lock_on_contention="skip")
declare("skip_with_result", lock_on_contention=Skip(result="Processing"))
declare("fail", lock_on_contention="fail")
declare("patient", lock_wait=10.0)
declare("patient_a_second", lock_wait=1.0)
declare("patient_soft_limit", lock_wait=10.0, soft_time_limit=1)
declare("line", lock_countdown=60.0)
declare("line_in_slot", lock_countdown=60.0, lock_wait=10.0)
declare("line_long_in_slot", lock_countdown=60.0, lock_wait=60.0)
declare("line_acks_late", lock_countdown=60.0, acks_late=True, reject_on_worker_lost=True)
declare("line_short_lease", lock_countdown=60.0, lock_ttl=1.5)
declare("line_soon", lock_countdown=3.0)
declare("no_line", lock_countdown=0.2, lock_fair=False)
declare("three_tries", lock_max_requeues=2)
declare("one_second", lock_max_wait=1.0)
declare("lost_raise", lock_ttl=1.0, lock_on_lost="raise")
declare("lost_flag", lock_ttl=1.0, lock_on_lost="flag")
declare("lost_kill", lock_ttl=1.0, lock_on_lost="kill")
declare("soft_limit", soft_time_limit=1, lock_ttl=60.0)
declare("hard_limit", time_limit=1, lock_ttl=2.0)
declare("minute", lock_ttl=60.0)
declare("outage_fail", lock_on_outage="fail")
declare("outage_run", lock_on_outage="run")
declare("callable", lock_on_contention=decide)
declare("blunder", lock_on_contention=blunder)
declare("fails", fails, lock_ttl=60.0)
declare("autoretry", fails, autoretry_for=(BrokenJobError,), default_retry_delay=3, max_retries=3)
declare("retry", retries_itself, max_retries=3)
declare("replace", replaces_itself)
declare("replace_by_group", replaced_by_group)
declare("ignore", ignores, lock_ttl=60.0)
declare("reject", rejects, acks_late=True, lock_ttl=60.0)
declare("parent", has_children)
declare("open", stays_open, acks_late=True)
declare("open_short_lease", stays_open, lock_ttl=1.5)
declare("minds_its_limit", minds_its_limit, soft_time_limit=1, lock_ttl=60.0)


def alone(key: str, job: str, seconds: float = 0.0) -> str:
    """A task that is not bound."""
    return work(app.current_task, key, job, seconds)


# What not every store can do. A task that its store cannot serve would keep the worker from starting.
if str(app.conf.lock_store).startswith("redis://"):
    declare("slots", lock_countdown=60.0, lock_slots=3)
    declare("slots_open", stays_open, lock_countdown=60.0, lock_slots=3)
    declare("reads_open", stays_open, lock_countdown=60.0, lock_shared=True)
    declare("reads", lock_countdown=60.0, lock_shared=True)
    declare("at_least", lock_at_least=2.0, lock_countdown=60.0)
    declare("open_at_least", stays_open, lock_ttl=300.0, lock_at_least=4.0)
    declare("retry_at_least", retries_itself, max_retries=1, lock_at_least=2.0, lock_countdown=60.0)
    declare("retry_at_least_skip", retries_itself, max_retries=1, lock_at_least=2.0, lock_on_contention="skip")

app.task(alone, base=LockedTask, name="unbound", lock_key="{key}")
shared_task(alone, base=LockedTask, name="shared", lock_key="{key}")


class Base(LockedTask):
    """A base class of a project, whose tasks have its options."""

    abstract = True
    lock_ttl = 6.0


class ClassBased(Base):
    """A task written as a class."""

    name = "class_based"
    lock_key = "{key}"

    def run(self, key: str, job: str, seconds: float = 0.0) -> str:
        """As every other job, with the lease at hand."""
        assert self.lease.key == key
        return work(self, key, job, seconds)


app.register_task(ClassBased())
