"""A test's desk: it sends jobs by name, takes keys before them, and watches what becomes of them."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from celery import Celery
    from celery.canvas import Signature
    from celery.result import AsyncResult

    from celery_locks import Lease, Locks
    from tests.acceptance.journal import Journal
    from tests.acceptance.nodes import Worker
    from tests.servers.redis import RedisServer

#: Longer than anything takes on a machine with better things to do.
PATIENCE = 30

only_redis = pytest.mark.parametrize("system", ["redis"], indirect=True)
only_rabbitmq = pytest.mark.parametrize("system", ["rabbitmq"], indirect=True)
#: Each pool with a broker: what brings a message is not the pool's to know. gevent, with other sockets, has both.
each_pool = pytest.mark.parametrize(
    ("system", "pool"),
    [("redis", "prefork"), ("redis", "threads"), ("redis", "gevent"), ("rabbitmq", "gevent"), ("rabbitmq", "solo")],
    indirect=["system"],
)


class Office:
    """An app to send through, the store's locks, the journal, and a key that no other test has."""

    def __init__(self, app: Celery, journal: Journal, locks: Locks, vault: RedisServer, key: str) -> None:
        self.app = app
        self.journal = journal
        self.locks = locks
        self.vault = vault
        self.key = key

    def beside(self, name: str) -> Office:
        """The same desk for another key."""
        return Office(self.app, self.journal, self.locks, self.vault, f"{self.key}:{name}")

    def job(self, task: str, job: str, *, queue: str | None = None, **arguments: Any) -> Signature:
        """A job on this test's key, not yet sent."""
        signature = self.app.signature(task, kwargs={"key": self.key, "job": job, **arguments}, immutable=True)
        return signature.set(queue=queue) if queue else signature

    def send(self, task: str, job: str, *, options: dict[str, Any] | None = None, **arguments: Any) -> AsyncResult:
        """Send a job on this test's key."""
        return self.job(task, job, **arguments).apply_async(**(options or {}))

    @contextlib.contextmanager
    def taken(self, ttl: float = 60) -> Iterator[Lease]:
        """Somebody who is no job has the key."""
        with self.locks.lock(self.key, ttl=ttl) as lease:
            yield lease

    def wait_until_waiting(self, *results: AsyncResult) -> None:
        """Until each of these jobs has met its key taken and gone back to its queue."""
        for result in results:
            self.wait_for_state(result, "RETRY")

    def wait_for_line(self, present: int, away: int = 0, timeout: float = PATIENCE) -> None:
        """Until so many are in line who can start at once, and so many on their way through a queue."""
        name = f"lock:{{{self.key}}}:line"
        with self.vault.client() as client:
            wait_until(
                lambda: (client.zcount(name, 0, "(4e15"), client.zcount(name, 4e15, "+inf")) == (present, away),
                f"{present} to be in line for {self.key!r}",
                timeout,
            )

    def wait_until_at_home(self, count: int) -> None:
        """Until so many in line wait in processes that would hear a wake: those of a dead one are in line as well."""
        with self.vault.client() as client:

            def at_home() -> int:
                homes = [said.split()[0] for said in client.hvals(f"lock:{{{self.key}}}:homes")]
                return sum(client.pubsub_numsub(f"lock:wake:{home}")[0][1] > 0 for home in homes)

            wait_until(lambda: at_home() == count, f"{count} to wait in living processes for {self.key!r}", PATIENCE)

    def put_back(self, after: float) -> None:
        """Do what a worker's transport does with Redis: put back what was taken so long ago and is not acknowledged.

        How soon a worker itself does it depends on its version of kombu: some do within 10 s, some only every 100 s.
        """
        with self.app.connection_for_write(transport_options={"visibility_timeout": after}) as connection:
            # All of them, and not the last ten only.
            connection.default_channel.qos.restore_visible(num=1000)

    def waiting_in(self, queue: str) -> int:
        """How many messages lie in a queue that was used already."""
        with self.app.connection_for_write() as connection:
            return int(connection.default_channel.queue_declare(queue, passive=True).message_count)

    def copy_running(self, ids: Mapping[str, str], workers: Sequence[Worker]) -> None:
        """Have a copy of each job that runs come to one of these workers, and find its key taken by the first.

        The jobs are told by their keys. None may be acknowledged yet.
        """
        self.put_back(after=0.0)

        def have_met() -> bool:
            log = "".join(worker.log() for worker in workers)
            return all(re.search(f"{re.escape(repr(key))} is held by .*{ids[key]}", log) for key in ids)

        wait_until(have_met, "a copy of each to come and find its key taken", PATIENCE, interval=0.1)

    def wait_until_idle(self, worker: Worker) -> None:
        """Until its main process knows that no job runs in it."""
        inspect = self.app.control.inspect(destination=[worker.name], timeout=PATIENCE, limit=1)
        wait_until(lambda: inspect.active() == {worker.name: []}, f"{worker} to have no job that runs", PATIENCE)

    def messages(self, job: str) -> int:
        """How many messages of a job have come to a worker."""
        return len([message for message in self.journal.events("message", self.key) if message["job"] == job])

    def wait_for_messages(self, job: str, count: int, timeout: float = PATIENCE) -> list[dict[str, Any]]:
        """The messages of a job, once so many have come to a worker: one that waits has one for each re-queue more."""

        def come() -> list[dict[str, Any]]:
            found = [message for message in self.journal.events("message", self.key) if message["job"] == job]
            return found if len(found) >= count else []

        return wait_until(come, f"{count} messages of {job!r} under {self.key!r}", timeout)

    def wait_for_state(self, result: AsyncResult, state: str, timeout: float = PATIENCE) -> None:
        """Until a job is in a state."""
        try:
            wait_until(lambda: result.state == state, f"{result.id} to be {state}", timeout, interval=0.03)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it is {result.state}: {result.info!r}") from None

    def wait_until_free(self, timeout: float = PATIENCE) -> None:
        """Until nobody has the key."""
        wait_until(lambda: not self.locks.locked(self.key), f"{self.key!r} to be free", timeout)

    def results_of_kept(self, jobs: Sequence[AsyncResult], keys: Sequence[str]) -> list[object]:
        """What these jobs gave, each of which had its lease at its end."""
        results = [job.get(timeout=PATIENCE) for job in jobs]
        for key in keys:
            [ended] = self.journal.events("lease", key)
            assert ended["held"] is True
        return results

    def written(self) -> list[str]:
        """Whatever the store has in it."""
        with self.vault.client() as client:
            names = {name: client.type(name) for name in client.scan_iter()}
            lines = [str(client.zrange(name, 0, -1)) for name, kind in names.items() if kind in ("zset", b"zset")]
            return lines + [str(client.get(name)) for name, kind in names.items() if kind in ("string", b"string")]

    def notes(self, job: str, count: int = 1) -> list[Any]:
        """What was given to links, errbacks and chord bodies of this name, once there are so many."""

        def found() -> list[Any]:
            return [note["args"] for note in self.journal.events("note", self.key) if note["job"] == job]

        wait_until(lambda: len(found()) >= count, f"{count} notes of {job!r} under {self.key!r}", PATIENCE)
        return found()
