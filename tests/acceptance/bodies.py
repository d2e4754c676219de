"""What the jobs of the acceptance tests' workers do under their locks. Each writes its start and end to the journal."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import group, signals
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from celery_locks import Contention, Fail, Requeue, Skip, current_lease
from tests.acceptance.journal import Journal
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks import Lease


class BrokenJobError(Exception):
    """What a job raises that fails."""


_requeues: dict[str, int] = {}


@signals.task_prerun.connect
def note_requeues(task: Any, task_id: str, **_: Any) -> None:
    """Keep how often a job was re-queued: its body does not see that."""
    _requeues[task_id] = (task.request.headers or {}).get("lock_requeues", 0)


def facts(task: Any) -> dict[str, Any]:
    """What a body sees of its own job."""
    request = task.request
    seen = {name: each for name, each in vars(request).items() if not name.startswith("lock_")}
    return {"id": request.id, "requeues": _requeues.get(request.id, 0), "seen": seen}


def taken(lease: Lease) -> float | None:
    """The moment before the store was asked for the lease, by the clock of the journal."""
    return None if lease.deadline is None else lease.deadline - lease.ttl


@contextlib.contextmanager
def noted(task: Any, key: str, job: str) -> Iterator[None]:
    """Write down the body's start and end, and how its lease was when it ended."""
    lease = current_lease()
    journal = Journal.of_this_process()
    with journal.running(key, job, lease.fence, owner=lease.owner, ttl=lease.ttl, taken=taken(lease), **facts(task)):
        try:
            yield
        finally:
            journal.write("lease", key=key, job=job, held=lease.held())


def work(self: Any, key: str, job: str, seconds: float = 0.0, **_: Any) -> str:
    """Take some time."""
    with noted(self, key, job):
        time.sleep(seconds)
    return job


def runs_so_far(key: str, job: str) -> int:
    """How often this job's body has begun, this time included."""
    return Journal.of_this_process().jobs(key).count(job)


def fails(self: Any, key: str, job: str, times: int = 1_000) -> int:
    """Fail so many times, then give the number of runs."""
    with noted(self, key, job):
        runs = runs_so_far(key, job)
        if runs <= times:
            raise BrokenJobError(f"run {runs} of {job} failed")
    return runs


def retries_itself(self: Any, key: str, job: str, times: int, after: float = 1.0) -> int:
    """Ask for another try so many times."""
    with noted(self, key, job):
        runs = runs_so_far(key, job)
        if runs <= times:
            raise self.retry(countdown=after)
    return runs


def replaces_itself(self: Any, key: str, job: str) -> None:
    """Leave the work to another job with the same key."""
    with noted(self, key, job):
        raise self.replace(self.app.signature("work", (key, f"{job} replaced")))


def replaced_by_group(self: Any, key: str, job: str) -> None:
    """Leave the work to several jobs with the same key."""
    with noted(self, key, job):
        parts = (self.app.signature("work", (key, f"{job}, part {number}")) for number in range(3))
        raise self.replace(group(parts))


def ignores(self: Any, key: str, job: str) -> None:
    """End without a result."""
    with noted(self, key, job):
        raise Ignore("as it pleases")


def rejects(self: Any, key: str, job: str, requeue: bool = False) -> str:  # noqa: FBT001, FBT002 - a job's argument
    """Send the message back, the first time."""
    with noted(self, key, job):
        if runs_so_far(key, job) == 1:
            raise Reject("as it pleases", requeue=requeue)
    return job


def has_children(self: Any, key: str, job: str) -> str:
    """Send another job from within."""
    with noted(self, key, job):
        return str(self.app.send_task("plain", ["child"]).id)


def stays_open(self: Any, key: str, job: str, until: str) -> str:
    """Run until a file is there."""
    with noted(self, key, job):
        wait_until(Path(until).exists, f"{until} to be there", timeout=60)
    return job


def minds_its_limit(self: Any, key: str, job: str) -> str:
    """Sleep until the soft time limit comes, then clean up under the lock."""
    with noted(self, key, job):
        try:
            time.sleep(30)
        except SoftTimeLimitExceeded:
            current_lease().ensure_held()
            return "cleaned up"
    return "slept"


def decide(contention: Contention) -> Requeue | Skip | Fail:
    """Go back once, then end well or badly as the key says."""
    if contention.requeues < 1:
        return Requeue(0.2)
    if "fail" in contention.key:
        return Fail(f"{contention.task} has seen enough")
    return Skip(result=[contention.key, contention.task, contention.holder, contention.requeues])


def blunder(contention: Contention) -> Requeue:
    """Fail to decide."""
    raise BrokenJobError(f"no idea what to do about {contention.key}")
