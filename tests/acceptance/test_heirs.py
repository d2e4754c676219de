"""A key that is handed over to a job that waits in its slot: whatever becomes of that, one job has it at a time."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from celery_locks import Locks
from tests.acceptance.journal import judge
from tests.acceptance.nodes import start_all
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.servers.redis import RedisServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.nodes import Worker

pytestmark = only_redis  # what is proved here lies between the worker and the store


@pytest.fixture
def store(desk: Office) -> Iterator[RedisServer]:
    """A store of its own, the desk's too."""
    with RedisServer() as server:
        desk.locks = Locks(server.url)
        desk.vault = server
        yield server
        desk.locks.close()


@pytest.fixture
def heir(hire_kept: Callable[..., Worker], store: RedisServer) -> Worker:
    """A worker of one process."""
    return hire_kept("heir", {"lock_store": store.url}, queues=["heir"], concurrency=1)


def _waits_in_slot(desk: Office) -> None:
    """Until one waits in a slot, to whom the key may be handed over."""
    name = f"lock:{{{desk.key}}}:homes"
    with desk.vault.client() as client:
        wait_until(
            lambda: any(len(said.split()) > 2 for said in client.hvals(name)), "one to wait in its slot", PATIENCE
        )


def _fence(desk: Office) -> int:
    with desk.vault.client() as client:
        return int(client.get(f"lock:{{{desk.key}}}:fence").split(":")[0])


def test_a_job_that_holds_the_interpreter_keeps_what_was_handed_over(
    desk: Office, heir: Worker, hire_kept: Callable[..., Worker], store: RedisServer
) -> None:
    """Its process can do nothing for it, from its start to beyond its ttl: a contender begins after it."""
    rival = hire_kept("rival", {"lock_store": store.url}, queues=["rival"])
    start_all([heir, rival])
    with desk.taken() as lease:
        desk.send("heir_holds_the_interpreter", "heir", queue="heir", seconds=6.0)
        _waits_in_slot(desk)
    desk.journal.wait_for_start(desk.key, "heir")
    assert _fence(desk) > lease.fence
    desk.send("work", "contender", queue="rival")
    runs = desk.journal.wait_for_runs(desk.key, 2)
    judge(runs, ["heir", "contender"])
    assert [event["held"] for event in desk.journal.events("lease", desk.key)] == [True, True]
    assert {each["pid"] for each in desk.journal.events("renewal", "renewal")} == {heir.pid}


def test_a_process_that_is_stopped_does_not_run_on_what_it_was_handed(desk: Office, heir: Worker) -> None:
    """The key goes on to another when the ttl is over. It asks anew when it goes on, and waits again."""
    heir.start()
    with desk.taken():
        job = desk.send("heir_holds_the_interpreter", "heir", queue="heir", seconds=0.0)
        _waits_in_slot(desk)
        [process] = psutil.Process(heir.pid).children()
        os.kill(process.pid, signal.SIGSTOP)
        fence = _fence(desk)
    assert _fence(desk) > fence, "it was handed over"
    contender = desk.locks.lock(desk.key, ttl=60)
    assert contender.acquire(timeout=PATIENCE)
    os.kill(process.pid, signal.SIGCONT)
    _waits_in_slot(desk)
    assert desk.journal.jobs(desk.key) == []
    ended = time.monotonic()
    contender.release()
    assert job.get(timeout=PATIENCE) == "heir"
    assert desk.journal.wait_for_runs(desk.key, 1)[0].start >= ended


def test_a_process_that_dies_with_what_it_was_handed(desk: Office, heir: Worker) -> None:
    """Its worker gives it back, though the process has never heard of it."""
    heir.start()
    with desk.taken():
        desk.send("waits", "heir", queue="heir")
        _waits_in_slot(desk)
        [process] = psutil.Process(heir.pid).children()
        os.kill(process.pid, signal.SIGSTOP)
        fence = _fence(desk)
    assert _fence(desk) > fence, "it was handed over"
    process.kill()
    wait_until(lambda: "given back" in heir.log(), "its worker to say so", PATIENCE)
    desk.wait_until_free()
