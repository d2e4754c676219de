"""No ghost writes: each lock store with each guard, and what happens without one.

Some jobs, in threads of one process, hold a key each. Each has checked its lease and is about to send its write when
the process is stopped (SIGSTOP). The locks end; another process takes all keys and writes. Then the first goes on
(SIGCONT): its writes are sent as they were.

Usually there is one pause of fifty jobs. `make proof` pauses fifty processes of each pair, one after the other.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StaleFence
from celery_locks.lease import Verdict
from celery_locks.stores import open_store
from tests.fencing.lock_stores import LOCK_STORES
from tests.fencing.targets import each_guard
from tests.stores.contract.asking import patient, take
from tests.stores.processes import Crew, forking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from celery_locks.lease import Lease
    from celery_locks.stores import Store
    from tests.fencing.lock_stores import Place
    from tests.fencing.targets import Kind, Target

PAUSES = int(os.environ.get("GHOST_PAUSES", "1"))
#: However few the pauses, fifty late writes with a guard, and as many without.
JOBS = max(4, 50 // PAUSES)
KEYS = [f"wallet:{number}" for number in range(JOBS)]
HOW = ("guarded", "plain")
#: For fifty that share two cores with whatever else runs.
PATIENCE = 60
#: What is left of the leases when the process is stopped.
LAST = 0.6


#: Each store with each guard; those guards that have several servers are at each of them in turn.
PAIRS = [
    pytest.param(place, kind, id=f"{name}, {kind.name}")
    for turn, (name, place) in enumerate(LOCK_STORES.items())
    for kind in each_guard(turn)
]


@pytest.fixture
def locks(request: pytest.FixtureRequest, place: Callable[[pytest.FixtureRequest], Place]) -> Place:
    return place(request)


@pytest.fixture
def make(request: pytest.FixtureRequest, kind: Kind) -> Callable[[], Target]:
    """Makes a target at the server, for the process that uses it."""
    return functools.partial(kind.make, request.getfixturevalue(kind.server))


# The servers of Redlock are private ones that keep nothing on disk, and its leases say so.
@pytest.mark.filterwarnings("ignore::celery_locks.fencing.FenceWarning")
@pytest.mark.parametrize(("place", "kind"), PAIRS)
def test_a_guard_refuses_every_ghost(
    locks: Place, make: Callable[[], Target], record_property: Callable[[str, object], None]
) -> None:
    """Each of fifty stale writes is refused by the store of record; each of the same without a guard lands."""
    found, total = Counter[str](), PAUSES * JOBS
    with contextlib.closing(make()) as target:
        target.prepare([f"{how} {key}" for key in KEYS for how in HOW])
        for number in range(PAUSES):
            found.update(_seen_in_a_pause(str(number), locks, target, make))
    for how in HOW:
        record_property(how, f"{found[f'{how}: ghost']} of {total}")
    assert found == {"plain: ghost": total, "guarded: next": total, "told: refused": total, "fence: of the next": total}


def _seen_in_a_pause(pause: str, locks: Place, target: Target, make: Callable[[], Target]) -> Iterator[str]:
    """Who has written last to each place, what the guard told each ghost, and whose fences are there."""
    with Crew() as crew:
        here, there = forking.Pipe()
        holder = crew.start(_hold, f"ghost {pause}", locks.url, make, there)
        assert here.poll(PATIENCE), "the holder did not get so far"
        assert here.recv() == "about to write"
        assert holder.pid
        os.kill(holder.pid, signal.SIGSTOP)
        locks.end(KEYS)
        fences = _write_as_the_next(f"next {pause}", locks.url, target)
        here.send("go on")
        os.kill(holder.pid, signal.SIGCONT)
        crew.done(PATIENCE)
        yield from (f"{how}: {target.read(f'{how} {key}').removesuffix(f' {pause}')}" for key in KEYS for how in HOW)
        yield from (f"told: {outcome}" for outcome in here.recv())
        for key, fence in zip(KEYS, fences, strict=True):
            yield "fence: of the next" if target.fence(f"guarded {key}") == fence else "fence: of another"


def _write_as_the_next(name: str, url: str, target: Target) -> list[int]:
    """Take all keys, as whoever waited for them does, and write."""
    leases = []
    with contextlib.closing(open_store(url)) as store:
        for key in KEYS:
            lease = patient(store, key, name, PATIENCE)
            target.guarded(f"guarded {key}", name, lease)
            target.plain(f"plain {key}", name)
            leases.append(lease)
        for lease in leases:
            store.release(lease.claim)
    return [lease.fence for lease in leases]


def _hold(name: str, url: str, make: Callable[[], Target], parent: Connection) -> None:
    """Hold all keys, get all writes ready, say so; and go on when told to."""
    with contextlib.closing(open_store(url)) as store, contextlib.closing(make()) as target:
        ready, awake = threading.Semaphore(0), threading.Event()

        def pause() -> None:
            ready.release()
            assert awake.wait(PATIENCE), "nobody says to go on"

        target.before_write(pause)
        jobs = [_Job(take(store, key, name), target) for key in KEYS]
        assert all(ready.acquire(timeout=PATIENCE) for _ in jobs), "not all came to their write"
        _let_end_soon(store, [job.lease for job in jobs])
        parent.send("about to write")
        assert parent.poll(PATIENCE), "nobody says to go on"
        awake.set()
        parent.send([job.outcome() for job in jobs])


def _let_end_soon(store: Store, leases: list[Lease]) -> None:
    """Renew them for the last time, for a moment."""
    for lease in leases:
        lease.ttl = LAST
    assert store.renew(leases) == [Verdict.RENEWED] * len(leases)


class _Job:
    """Writes in a thread of its own: with the guard, and then without."""

    def __init__(self, lease: Lease, target: Target) -> None:
        self.lease = lease
        self._target = target
        self._outcome = ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        name = self.lease.owner
        # All that a job without a guard can do.
        self.lease.ensure_held()
        try:
            self._target.guarded(f"guarded {self.lease.key}", name, self.lease)
            self._outcome = "written"
        except StaleFence:
            self._outcome = "refused"
        self._target.plain(f"plain {self.lease.key}", name)

    def outcome(self) -> str:
        """How the guarded write ended, once both are over."""
        self._thread.join(PATIENCE)
        return "still at it" if self._thread.is_alive() else self._outcome
