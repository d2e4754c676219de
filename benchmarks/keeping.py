"""What it costs a process of a pool that its parent keeps its leases, beyond a plain acquire and release."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

from benchmarks.layers import SilentStore
from benchmarks.report import AtMost, Figure, Part
from benchmarks.rounds import Rounds
from celery_locks.board import Board
from celery_locks.guard import Guard
from celery_locks.lease import Claim, new_owner
from celery_locks.parent import Parent, adopt
from celery_locks.worker.children import Children
from celery_locks.worker.deaths import Bell

if TYPE_CHECKING:
    from benchmarks.uncontended import Subject

TTL, BEAT = 30.0, 10.0
TASK, TASK_ID = "shop.tasks.sync", "8e1c0a1f-5d5c-4c1e-9a51-8a9a3f3cf0d5"
PLAIN, BEATING, KEPT = "without a heartbeat", "with a heartbeat of its own", "kept by its parent"


def run(_url: str, *, quick: bool) -> Part:
    """A child is measured while its parent, this process, looks after it; by a store that answers at once."""
    guard, board, bell = Guard(SilentStore()), Board(1), Bell()
    Children(board, bell).start()
    context = multiprocessing.get_context("fork")
    results, told = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(guard, board, bell, told), kwargs={"quick": quick})
    child.start()
    times: Rounds = results.recv()
    child.join()
    figures = [
        Figure.of(f"acquire + release, {PLAIN}", times.micros(PLAIN), "µs"),
        Figure.of(f"+ {BEATING}", times.over(BEATING, PLAIN), "µs"),
        Figure.of(f"+ {KEPT}", times.over(KEPT, PLAIN), "µs", target=AtMost(15)),
    ]
    return Part("kept", "µs on a job's path", figures)


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
