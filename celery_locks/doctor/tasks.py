"""Hazards in the declarations of tasks, and in what the app says of its broker."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from celery_locks import config
from celery_locks.doctor.finding import Finding, Hazard, some
from celery_locks.options import Options
from celery_locks.policies import Fail, Skip
from celery_locks.stores.base import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.doctor.ward import AppCase, Locked

HOUR = 3600.0
#: RabbitMQ closes the channel of a worker that holds a message for longer, unless it is told otherwise.
RABBITMQ_WAITS = 1800.0
_AMQP = ("amqp", "amqps", "pyamqp")

ONE_KEY = Hazard(
    "CL101",
    "warning",
    "They run one at a time, whatever they are about, and the line grows.",
    'lock_key="{task}:{{{argument}}}"; if one at a time is meant, say lock_key="{{task}}"',
)
NOT_REJECTED = Hazard(
    "CL102",
    "warning",
    "When the process of a job dies, killed for memory or by lock_on_lost='kill', Celery acknowledges its message all"
    " the same: the job is lost, and its key is free.",
    "app.conf.task_reject_on_worker_lost = True",
)
NO_LIMIT = Hazard(
    "CL103",
    "warning",
    "A heartbeat keeps the key for as long as the process is there, also when its job hangs: all others with that key"
    " wait for ever.",
    "app.conf.task_time_limit = 600, or time_limit=600 at the task",
)
RUNS_LONGER = Hazard(
    "CL104",
    "warning",
    "A second copy of a running job arrives. It waits for the key, and runs when the first is done: the work is done"
    " twice.",
    "{setting} above the longest time limit, or a lower time_limit",
)
WAITS_LONGER = Hazard(
    "CL105",
    "error",
    "A worker holds a waiting job's message until its countdown is over. The broker takes that for a loss, and each job"
    " comes more than once.",
    "a lower lock_countdown (a release wakes the job sooner anyway), or {setting} above it",
)
LONG_LEASE = Hazard(
    "CL106",
    "warning",
    "When a worker's machine dies its key stays taken until the ttl is over: nobody works on it for hours.",
    "lock_heartbeat=True, lock_ttl=60",
)
NOT_WOKEN = Hazard(
    "CL107",
    "warning",
    "They keep no line: a job runs when its countdown is over, up to 30 s after its key was free, and whoever comes"
    " first gets it.",
    "classic queues for these tasks, or lock_wait=5 so that short holds are waited for in the slot",
)
FEW_MAY_WAIT = Hazard(
    "CL108",
    "note",
    "A worker that holds so many takes no other message, also none of a job whose key is free, until one of those has"
    " its turn.",
    "app.conf.worker_eta_task_limit = None, or well above the jobs that wait at a time",
)
NO_STORE = Hazard(
    "CL109",
    "error",
    "Locks are files on each machine: workers on two machines hold one key at once.",
    'app.conf.lock_store = "redis://localhost:6379/0"',
)


class Patience(NamedTuple):
    """For how long a worker may hold a message, in words too, and the setting that says so."""

    seconds: float
    says: str
    setting: str


def key_that_never_varies(case: AppCase) -> Iterator[Finding]:
    """The key of a task with arguments is its name alone, and nobody said that it should be; or braces are missing."""
    for each in case.locked:
        named = each.plan.keys.names
        if named and each.options.key == Options.key and "lock_key" not in each.plan.given:
            what = f"task {each.name} takes {', '.join(named)} and has no lock_key: all its jobs have one key"
            yield ONE_KEY.found(what, task=each.name, argument=named[0])
        elif meant := _without_braces(each.options.key, named):
            what = (
                f"task {each.name} has lock_key={each.options.key!r}, {meant} without braces: all its jobs have one key"
            )
            yield ONE_KEY.found(what, task=each.name, argument=meant)


def _without_braces(key: object, named: Sequence[str]) -> str | None:
    """The argument that a key of plain text names behind its first word, as in "wallet:user_id"."""
    if not isinstance(key, str) or "{" in key:
        return None
    words = re.split(r"\W+", key)[1:]
    return next((name for name in named if name in words), None)


def late_acknowledgement_without_reject(case: AppCase) -> Iterator[Finding]:
    """A job whose process dies is acknowledged all the same."""
    if names := _names(case, lambda each: each.task.acks_late and not each.task.reject_on_worker_lost):
        yield NOT_REJECTED.found(f"acks_late without task_reject_on_worker_lost: {some(names)}")


def no_time_limit(case: AppCase) -> Iterator[Finding]:
    """Nothing ends a job that hangs."""
    if names := _names(case, lambda each: each.time_limit is None and each.options.heartbeat):
        yield NO_LIMIT.found(f"locked tasks without a time limit: {some(names)}")


def jobs_longer_than_the_broker_waits(case: AppCase) -> Iterator[Finding]:
    """The broker delivers a message again that is still worked on."""
    if broker := _patience(case):
        longest = broker.seconds
        if names := _names(case, lambda each: _is_done_twice(each, longest)):
            what = f"{broker.says}, and these acks_late tasks may run longer: {some(names)}"
            yield RUNS_LONGER.found(what, setting=broker.setting)


def countdowns_longer_than_the_broker_waits(case: AppCase) -> Iterator[Finding]:
    """The broker delivers a message again that waits for its countdown."""
    if broker := _patience(case):
        longest = broker.seconds
        if names := _names(case, lambda each: each.options.countdown != "auto" and each.options.countdown > longest):
            yield WAITS_LONGER.found(
                f"{broker.says}, and lock_countdown is longer: {some(names)}", setting=broker.setting
            )


def long_lease_without_beat(case: AppCase) -> Iterator[Finding]:
    """A dead holder keeps its key for long."""
    if names := _names(case, lambda each: each.options.ttl > HOUR and not each.options.heartbeat):
        yield LONG_LEASE.found(f"lock_ttl above an hour and no heartbeat: {some(names)}")


def countdowns_nobody_can_end(case: AppCase) -> Iterator[Finding]:
    """With quorum queues a re-queued job waits in the broker."""
    if config.delays_natively(case.app) and (names := _names(case, _would_line_up)):
        yield NOT_WOKEN.found(
            f"quorum queues delay re-queued jobs in the broker, where no release can wake them: {some(names)}"
        )


def fewer_places_than_jobs_that_wait(case: AppCase) -> Iterator[Finding]:
    """A bound on the messages that a worker may hold is one on those that wait for keys."""
    limit = getattr(case.app.conf, "worker_eta_task_limit", None)
    if limit and case.locked:
        is_reached = case.waiting >= limit
        what = f"worker_eta_task_limit lets a worker hold {limit} waiting jobs, and {case.waiting} wait now"
        yield FEW_MAY_WAIT.found(what, "error" if is_reached else "note")


def no_store_named(case: AppCase) -> Iterator[Finding]:
    """Locks are files on each machine."""
    if names := _names(case, lambda each: config.known_store(case.app.conf, each.options.store) is None):
        yield NO_STORE.found(f"no lock_store is set, and neither broker nor result backend is Redis: {some(names)}")


def _names(case: AppCase, is_meant: Callable[[Locked], object]) -> list[str]:
    return [each.name for each in case.locked if is_meant(each)]


def _would_line_up(each: Locked) -> bool:
    policy = each.options.on_contention
    goes_back = policy not in ("skip", "fail") and not isinstance(policy, (Skip, Fail))
    return goes_back and each.options.fair and isinstance(each.plan.guard.store, Lines)


def _is_done_twice(each: Locked, longest: float) -> bool:
    # A copy of a job that is sent once does not run while it is known that this has ended.
    is_known = each.options.unique and each.options.unique_ttl > longest
    return bool(each.task.acks_late and not is_known and not _is_within(each.time_limit, longest))


def _is_within(limit: float | None, seconds: float) -> bool:
    return limit is not None and limit <= seconds


def _patience(case: AppCase) -> Patience | None:
    """How long the broker lets a worker hold a message; None: for ever."""
    transport = case.transport
    if transport in _AMQP:
        says = f"RabbitMQ takes back what is held for {RABBITMQ_WAITS:.0f} s, unless it was told otherwise"
        return Patience(RABBITMQ_WAITS, says, "consumer_timeout in rabbitmq.conf")
    visible = config.redelivered_after(case.app.conf, transport)
    if visible is None:
        return None
    setting = "app.conf.broker_transport_options['visibility_timeout']"
    return Patience(visible, f"the broker delivers again what is held for {visible:.0f} s", setting)


CHECKS = (
    key_that_never_varies,
    late_acknowledgement_without_reject,
    no_time_limit,
    jobs_longer_than_the_broker_waits,
    countdowns_longer_than_the_broker_waits,
    long_lease_without_beat,
    countdowns_nobody_can_end,
    fewer_places_than_jobs_that_wait,
    no_store_named,
)
