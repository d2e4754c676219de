"""Where jobs wait that found their keys taken, and what is known of each.

Such a job is in RQ's own registry of scheduled jobs, so that it is shown, cancelled and deleted as any other, and a
scheduler puts it back on its queue if nobody else does. Beside that lies a registry of ours, which says until when a
worker attends to it, and in the job's own hash what it waits for.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from redis.exceptions import WatchError
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.registry import ScheduledJobRegistry
from rq.scheduler import RQScheduler

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

#: The field of a job's hash that says what it waits for. RQ leaves those alone that it does not know.
FIELD = "lock_waits"
#: Where a worker of ours attends to a queue, a scheduler puts a job back only if none has, so many seconds later.
GRACE = 60.0
#: A worker attends to a job for so many seconds, and says so again before they are over.
ATTENDED = 5.0
#: So many jobs are taken up at once.
TOGETHER = 500
_PREFIX = Queue.redis_queue_namespace_prefix.removesuffix("queue:") + "locks:"


@dataclass(frozen=True)
class Wait:
    """What is known of a job that waits. A job that has begun knows nothing of it any more."""

    #: How often it has gone back to its queue, and since when, by the clock of the worker that it met first.
    requeues: int = 0
    since: float | None = None
    #: What it is called, for those who hear of it.
    task: str = ""
    #: The key it waits for, who had it, and its place in line.
    key: str | None = None
    holder: str | None = None
    ticket: str | None = None
    #: Its store, in a word that says nothing of the URL.
    store: str = ""
    #: Whether it is called as the next, and whether it may wait for longer than its countdown.
    comes: bool = False
    patient: bool = False
    #: When its countdown is over.
    due: float = 0.0

    @property
    def waited(self) -> float:
        """Seconds since it first found its key taken."""
        return 0.0 if self.since is None else max(0.0, time.time() - self.since)

    @property
    def place(self) -> tuple[str, str] | None:
        """Its place in a line: in that of which key, and by which ticket."""
        return (self.key, self.ticket) if self.key and self.ticket else None

    def to_json(self) -> str:
        """As it is written."""
        return json.dumps({name: value for name, value in asdict(self).items() if value})

    @classmethod
    def from_json(cls, text: str | bytes | None) -> Wait | None:
        """As it was written; None of what is no such thing."""
        try:
            said = json.loads(text or "null")
        except (TypeError, ValueError):
            return None
        if not isinstance(said, dict) or not said:
            return None
        return cls(**{name: said[name] for name in cls.__dataclass_fields__ if name in said})


class Room:
    """Where the jobs of one queue wait."""

    def __init__(self, queue: str, connection: Redis) -> None:
        self.queue = queue
        self.connection = connection
        self.queue_key = f"{Queue.redis_queue_namespace_prefix}{queue}"
        self.scheduled_key = ScheduledJobRegistry.key_template.format(queue)
        self.waiting_key = f"{_PREFIX}waiting:{queue}"
        self.served_key = f"{_PREFIX}served:{queue}"

    def is_attended(self) -> tuple[bool, bool]:
        """Whether a worker of ours attends to this queue, and whether a scheduler does."""
        with self.connection.pipeline(transaction=False) as pipeline:
            pipeline.exists(self.served_key)
            pipeline.exists(RQScheduler.get_locking_key(self.queue))
            served, scheduled = pipeline.execute()
        return bool(served), bool(scheduled)

    def put(self, pipeline: Pipeline, job: Job, wait: Wait, *, served: bool) -> None:
        """Have a job wait here, in the same step that ends its execution; not one that was cancelled or deleted."""
        due = math.ceil(wait.due + (GRACE if served else 0.0))
        self._put(pipeline, job, JobStatus.SCHEDULED, [wait.to_json(), due], self.scheduled_key, self.waiting_key)

    def put_back(self, pipeline: Pipeline, job: Job, wait: Wait) -> None:
        """Put a job at the end of its queue, in the same step that ends its execution; likewise."""
        self._put(pipeline, job, JobStatus.QUEUED, [wait.to_json(), 0], self.queue_key)

    @staticmethod
    def _put(pipeline: Pipeline, job: Job, status: JobStatus, said: list[Any], *where: str) -> None:
        # What the worker does next looks at the status that the object has.
        job._status = status  # noqa: SLF001 - its only name
        # Sent whole: a Redis that was restarted an instant ago would refuse a mere digest, and do the rest of the step.
        keys = [job.key, *where]
        pipeline.eval(_script("put"), len(keys), *keys, job.id, status.value, *said, _expires(job))

    def extend(self, job_id: str, due: float) -> None:
        """Let it wait for longer."""
        self.connection.zadd(self.scheduled_key, {job_id: math.ceil(due + GRACE)}, xx=True)

    def attend(self, own: list[str]) -> tuple[list[str], dict[str, Wait]]:
        """Go on attending to these, and take up what nobody attends to; those of one's own that wait no more."""
        keys = [self.waiting_key, self.scheduled_key, self.served_key]
        arguments: list[Any] = [ATTENDED, Job.redis_job_namespace_prefix, TOGETHER, *own]
        gone, taken = self.connection.register_script(_script("attend"))(keys=keys, args=arguments)
        said = [_text(each) for each in taken]
        return [_text(each) for each in gone], {
            job_id: Wait.from_json(text) or Wait() for job_id, text in zip(said[::2], said[1::2], strict=True)
        }

    def has_forlorn(self) -> bool:
        """Whether jobs wait here to whom nobody attends."""
        seconds, microseconds = self.connection.time()
        return bool(self.connection.zcount(self.waiting_key, "-inf", seconds + microseconds / 1_000_000))

    def abandon(self, own: list[str]) -> None:
        """Attend to these no more: others may at once."""
        if own:
            self.connection.zadd(self.waiting_key, dict.fromkeys(own, 0), xx=True)

    def move(self, job_id: str, wait: Wait, *, at_front: bool) -> bool:
        """Put it back on its queue, if it still waits; False when it does not."""
        keys = [self.scheduled_key, self.waiting_key, self.queue_key, Job.key_for(job_id)]
        arguments = [job_id, "LPUSH" if at_front else "RPUSH", wait.to_json()]
        script = self.connection.register_script(_script("move"))
        while (said := _text(script(keys=keys, args=arguments))) == "limited":
            with contextlib.suppress(WatchError):
                return self._move_limited(job_id, wait, at_front=at_front)
        return said == "moved"

    def progress(self, job_id: str) -> tuple[str | None, bool]:
        """What RQ calls the state of a job that was called, and whether it has begun or goes back no more."""
        status, waits = self.connection.hmget(Job.key_for(job_id), ["status", FIELD])
        return None if status is None else _text(status), waits is None

    def forget(self, job: Job) -> None:
        """It waits no more: it begins. One that was sent again under its id while it waited is scheduled still."""
        with self.connection.pipeline(transaction=False) as pipeline:
            pipeline.hdel(job.key, FIELD)
            pipeline.zrem(self.waiting_key, job.id)
            pipeline.zrem(self.scheduled_key, job.id)
            pipeline.execute()

    def _move_limited(self, job_id: str, wait: Wait, *, at_front: bool) -> bool:
        """Put a job with a rate limit where RQ has a gate for it: it gave up its slot when it began to wait.

        In one step, which is not done if anybody has changed the job since it was looked at, as whoever moves it does.
        """
        from rq.rate_limit import RateLimitRegistry  # noqa: PLC0415 - RQ has it from version 3 on

        key = Job.key_for(job_id)
        with self.connection.pipeline() as pipeline:
            pipeline.watch(key)
            said: Any = pipeline.hmget(key, ["status", "rate_limit_key", "rate_limit_concurrency"])
            if None in said or _text(said[0]) != JobStatus.SCHEDULED.value:
                raise WatchError
            pipeline.multi()
            pipeline.zrem(self.scheduled_key, job_id)
            pipeline.zrem(self.waiting_key, job_id)
            pipeline.hset(key, mapping={"status": JobStatus.RATE_LIMITED.value, FIELD: wait.to_json()})
            if at_front:
                pipeline.hset(key, "enqueue_at_front", 1)
            registry, slots = RateLimitRegistry(_text(said[1]), self.connection), int(said[2])
            registry.register(slots, pipeline)
            registry.add_to_rate_limited(job_id, pipeline)
            registry.acquire_and_enqueue(slots, pipeline=pipeline)
            pipeline.execute()
        return True


def wait_of(job: Job) -> Wait | None:
    """What is known of a job that waits, or that was called; None of one that never did, or has begun since."""
    known = vars(job).get(FIELD, job)
    return Wait.from_json(job.connection.hget(job.key, FIELD)) if known is job else known


def seconds(when: datetime) -> float:
    """A time that RQ has noted, in seconds since 1970. Those without a zone are of UTC."""
    return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()


def _expires(job: Job) -> int | str:
    """In how many seconds a job that was sent with a ttl is no more: RQ lifted that when the job began."""
    if not job.ttl:
        return ""
    begun = seconds(job.enqueued_at) if job.enqueued_at else time.time()
    return max(1, math.ceil(begun + job.ttl - time.time()))


@cache
def _script(name: str) -> str:
    return (files("celery_locks.rq") / "scripts" / f"{name}.lua").read_text()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
