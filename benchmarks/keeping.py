"""What it costs a process of a pool that its parent keeps its leases, and what it costs the parent."""

from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

from redis.connection import AbstractConnection

from benchmarks.layers import SilentStore
from benchmarks.report import AtMost, Below, Figure, Measured, Part
from benchmarks.rounds import Rounds
from celery_locks import Locks
from celery_locks.board import Board
from celery_locks.guard import Guard
from celery_locks.lease import Claim, new_owner
from celery_locks.parent import Parent, adopt
from celery_locks.pool.children import Children
from celery_locks.pool.deaths import Bell

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from benchmarks.uncontended import Subject

TTL, BEAT = 30.0, 10.0
TASK, TASK_ID = "shop.tasks.sync", "8e1c0a1f-5d5c-4c1e-9a51-8a9a3f3cf0d5"
PLAIN, BEATING, KEPT = "without a heartbeat", "with a heartbeat of its own", "kept by its parent"
#: Processes, and how many leases each holds.
PROCESSES, EACH = 4, 250
_fork = multiprocessing.get_context("fork")


def run(url: str, *, quick: bool) -> Part:
    """The path of a job by a store that answers at once; the work of the parent by a Redis."""
    times, keeping = _timed(quick=quick), _parent_of_many(f"{url}/5", quick=quick)
    figures = [
        Figure.of(f"acquire + release, {PLAIN}", times.micros(PLAIN), "µs"),
        Figure.of(f"+ {BEATING}", times.over(BEATING, PLAIN), "µs"),
        Figure.of(f"+ {KEPT}", times.over(KEPT, PLAIN), "µs", target=AtMost(15)),
        Figure.of(f"{_LEASES}: share of a core", keeping.share, "%", target=Below(2)),
        Figure.of(f"{_LEASES}: round trips a tick", keeping.trips, "", target=AtMost(1)),
    ]
    return Part("kept", "a pool's leases, kept by its parent", figures)


_LEASES = f"{PROCESSES * EACH:,} leases in one worker"


def _timed(*, quick: bool) -> Rounds:
    """A child is measured while its parent, this process, looks after it."""
    guard, board, bell = Guard(SilentStore()), Board(1), Bell()
    Children(board, bell).start()
    results, told = _fork.Pipe(duplex=False)
    child = _fork.Process(target=_measure, args=(guard, board, bell, told), kwargs={"quick": quick})
    child.start()
    times: Rounds = results.recv()
    child.join()
    return times


def _measure(guard: Guard, board: Board, bell: Bell, told: Any, *, quick: bool) -> None:
    parent = Parent(board, 0, bell.ring)
    subjects = {PLAIN: _job(guard, None, None), BEATING: _job(guard, BEAT, None), KEPT: _job(guard, BEAT, parent)}
    told.send(Rounds.timed(subjects, rounds=5 if quick else 200, calls=20 if quick else 500))


def _job(guard: Guard, beat: float | None, parent: Parent | None) -> Subject:
    """What a job's path is from its claim to its release."""

    def both() -> None:
        adopt(parent)
        claim = Claim("wallet:42", new_owner(f"{TASK}[{TASK_ID}]"), TTL, TASK, TASK_ID)
        guard.run(claim, lambda _: None, lambda _: None, beat=beat)

    return both


class _Keeping(NamedTuple):
    """What keeping cost the main process, tick by tick: its part of one core, in percent, and what it sent."""

    share: Measured
    trips: Measured


def _parent_of_many(url: str, *, quick: bool) -> _Keeping:
    """In a process of its own, which does nothing else and had nothing to do before."""
    results, told = _fork.Pipe(duplex=False)
    process = _fork.Process(target=_keep_many, args=(url, 3.0 if quick else TTL, 3 if quick else 6, told))
    process.start()
    keeping: _Keeping = results.recv()
    process.join()
    return keeping


def _keep_many(url: str, ttl: float, ticks: int, told: Connection) -> None:
    guard, board, bell = Locks(url).guard, Board(PROCESSES), Bell()
    family = [_Holder(guard, board, bell, place, ttl) for place in range(PROCESSES)]
    Children(board, bell).start()
    for holder in family:
        holder.wait_until_full()
    # The first beats come one after the other, as the leases did, and then together.
    time.sleep(ttl)
    with patch.object(AbstractConnection, "send_packed_command", autospec=True, side_effect=_SEND) as sending:
        costs = [_tick(ttl / 3, sending) for _ in range(ticks)]
    told.send(_Keeping(Measured.of([share for share, _ in costs]), Measured.of([trips for _, trips in costs])))
    for holder in family:
        holder.end()


_SEND = AbstractConnection.send_packed_command


def _tick(interval: float, sending: Any) -> tuple[float, float]:
    """The part of a core, in percent, and how often something was sent, in one interval."""
    used, sent, began = time.process_time(), sending.call_count, time.monotonic()
    time.sleep(interval)
    return 100 * (time.process_time() - used) / (time.monotonic() - began), sending.call_count - sent


class _Holder:
    """A process of the pool that holds many leases."""

    def __init__(self, guard: Guard, board: Board, bell: Bell, place: int, ttl: float) -> None:
        self._ours, theirs = _fork.Pipe()
        self._process = _fork.Process(target=_hold, args=(guard, board, bell, place, ttl, theirs))
        self._process.start()

    def wait_until_full(self) -> None:
        """Until it has all its leases."""
        self._ours.recv()

    def end(self) -> None:
        """Have them given back."""
        self._ours.send("end")
        self._process.join()


def _hold(guard: Guard, board: Board, bell: Bell, place: int, ttl: float, line: Connection) -> None:  # noqa: PLR0913, PLR0917 - what is inherited
    adopt(Parent(board, place, bell.ring))
    claims = [Claim(f"held:{place}:{number}", new_owner(TASK), ttl, TASK, TASK_ID) for number in range(EACH)]
    leases = [guard.enter(claim, beat=ttl / 3) for claim in claims]
    line.send("full")
    line.recv()
    for lease in leases:
        if not guard.leave(lease):  # type: ignore[arg-type]  # a key of ours alone is not busy
            raise RuntimeError(f"a lease was lost while its parent kept it: {lease}")
