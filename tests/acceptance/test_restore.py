"""A web request takes a key, and a job in a worker takes its lock up and gives it back."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import pytest

from celery_locks import LockNotOwned, Locks
from tests.acceptance.nodes import Worker
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.stores.processes import Crew
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery.result import AsyncResult

    from tests.acceptance.conftest import System

pytestmark = only_redis

QUEUE = "handovers"
#: The ttl of a lease whose end a test waits for.
SHORT = 1.0


@pytest.fixture(scope="module", autouse=True)
def worker(system: System) -> Iterator[Worker]:
    """One worker for all jobs, which are told in which store their lock is."""
    ann = Worker("handover-ann", system.conf, system.journal, queues=[QUEUE], module="tests.acceptance.handovers")
    with contextlib.closing(ann):
        ann.start()
        yield ann


class Request(NamedTuple):
    """A web request in a process of its own: it takes the key and says by what name, and stays until it may go."""

    url: str
    key: str
    ttl: float
    folder: Path

    def serve(self) -> None:
        with contextlib.closing(Locks(self.url)) as locks:
            lock = locks.lock(self.key, ttl=self.ttl)
            assert lock.acquire(timeout=PATIENCE)
            half = self.folder / "half"
            half.write_text(lock.owner or "")
            half.rename(self.folder / "owner")
            wait_until((self.folder / "door").exists, "the door", timeout=2 * PATIENCE)
            with contextlib.suppress(LockNotOwned):
                # A store that remembers who has given a key back says that this has.
                lock.release()

    def owner(self) -> str:
        """The name that goes into the message."""
        name = self.folder / "owner"
        wait_until(name.exists, "the request to have the key", PATIENCE)
        return name.read_text()


class Web(NamedTuple):
    """Where requests are served, and jobs sent from."""

    office: Office
    url: str
    crew: Crew
    folder: Path

    def asked(self, ttl: float = 60.0) -> Request:
        request = Request(self.url, self.office.key, ttl, self.folder)
        self.crew.start(request.serve)
        return request

    def send(self, owner: str, **arguments: object) -> AsyncResult:
        return self.office.send("take_up", "job", queue=QUEUE, store=self.url, owner=owner, **arguments)

    def refused(self, owner: str, **arguments: object) -> LockNotOwned:
        """What a job ends with that cannot take it up, or has lost it."""
        with pytest.raises(LockNotOwned) as caught:
            self.send(owner, **arguments).get(timeout=PATIENCE)
        assert caught.value.key == self.office.key
        return caught.value


@pytest.fixture(params=["redis", "sql+postgresql"])
def web(request: pytest.FixtureRequest, desk: Office, tmp_path: Path) -> Iterator[Web]:
    url = desk.vault.url if request.param == "redis" else f"sql+{request.getfixturevalue('postgres_url')}"
    with contextlib.closing(Locks(url)) as locks, Crew() as crew:
        desk.locks = locks
        yield Web(desk, url, crew, tmp_path)


def test_a_job_takes_up_the_lock_of_a_request(web: Web) -> None:
    """Under the same fence. It is free when the job is done, and the request's own release changes nothing then."""
    request = web.asked()
    owner, holder = request.owner(), web.office.locks.holder(web.office.key)
    assert holder is not None
    assert web.send(owner).get(timeout=PATIENCE) == "job"
    [run] = web.office.journal.runs(web.office.key)
    assert run.fence == holder.fence
    with web.office.locks.lock(web.office.key) as lease:
        assert lease.fence > run.fence
        (web.folder / "door").touch()
        web.crew.done(PATIENCE)
        assert web.office.locks.holder(web.office.key).owner == lease.owner


def test_the_request_dies_before_its_job_begins(web: Web) -> None:
    """SIGKILL between the two: the job takes up what is in the store. Where no job comes it ends with its ttl."""
    request = web.asked()
    owner = request.owner()
    kill(web)
    assert web.send(owner).get(timeout=PATIENCE) == "job"
    assert not web.office.locks.locked(web.office.key)
    web.asked(SHORT).owner()
    kill(web)
    web.office.wait_until_free()


def test_another_owner_takes_nothing_up(web: Web) -> None:
    """The error says who has the key, which that keeps; and that the job's lock has ended, if its ttl is over."""
    first = web.asked().owner()
    refused = web.refused("lock@web:1#0")
    assert str(refused).startswith(f"{web.office.key!r} cannot be taken up: {first} has it; released already, or its ")
    assert refused.holder == first
    kill(web)
    assert web.office.locks.force_release(web.office.key)
    first = web.asked(SHORT).owner()
    web.office.wait_until_free()
    assert "this lock does not hold it; released already, or its lease ran out: use" in str(web.refused(first))
    with web.office.taken() as lease:
        assert web.refused(first).holder == lease.owner
        assert web.office.locks.holder(web.office.key).owner == lease.owner
    assert web.office.journal.runs(web.office.key) == []
    kill(web)


def test_the_ttl_ends_while_the_job_works(web: Web) -> None:
    """What is given back at the end is not ours any more, and the job is told so."""
    owner = web.asked().owner()
    assert "cannot be released" in str(web.refused(owner, ends_in=SHORT))
    [run] = web.office.journal.runs(web.office.key)
    assert run.end is not None
    kill(web)


def kill(web: Web) -> None:
    """End the request's process as a power cut would."""
    for member in web.crew.members:
        member.kill()
        member.join()
    web.crew.members.clear()
    (web.folder / "owner").unlink()
