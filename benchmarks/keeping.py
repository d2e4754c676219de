"""What it costs a process of a pool that its parent keeps its leases, beyond a plain acquire and release."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

from benchmarks.report import AtMost, Figure, Part
from benchmarks.rounds import Rounds
from celery_locks import Locks
from celery_locks.board import Board
from celery_locks.lease import Claim, new_owner
from celery_locks.parent import Parent, adopt
from celery_locks.worker.children import Children
from celery_locks.worker.deaths import Bell

if TYPE_CHECKING:
    from benchmarks.uncontended import Subject

TTL, BEAT = 30.0, 10.0
PLAIN, BEATING, KEPT = "without a heartbeat", "with a heartbeat of its own", "kept by its parent"


def run(url: str, *, quick: bool) -> Part:
    """A child is measured while its parent, this process, looks after it."""
    locks, board, bell = Locks(f"{url}/6"), Board(1), Bell()
    Children(board, bell).start()
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=_child, args=(locks, board, bell, theirs, quick))
    child.start()
    times: Rounds = ours.recv()
    child.join()
    locks.close()
    figures = [
        Figure.of(f"acquire + release, {PLAIN}", times.micros(PLAIN), "µs"),
        Figure.of(f"+ {BEATING}", times.over(BEATING, PLAIN), "µs"),
        Figure.of(f"+ {KEPT}", times.over(KEPT, PLAIN), "µs", target=AtMost(15)),
    ]
    return Part("kept", "µs on a job's path", figures)


def _child(locks: Locks, board: Board, bell: Bell, results: Any, quick: bool) -> None:  # noqa: FBT001 - an argument of a process
    parent = Parent(board, 0, bell.ring)
    subjects = {PLAIN: _job(locks, None, None), BEATING: _job(locks, BEAT, None), KEPT: _job(locks, BEAT, parent)}
    results.send(Rounds.timed(subjects, rounds=5 if quick else 300, calls=10 if quick else 50))


def _job(locks: Locks, beat: float | None, parent: Parent | None) -> Subject:
    """What a job's path is from its claim to its release."""

    def both() -> None:
        adopt(parent)
        claim = Claim(
            "kept", new_owner("shop.sync[8e1c0a1f-5d5c-4c1e-9a51-8a9a3f3cf0d5]"), TTL, "shop.sync", "8e1c0a1f"
        )
        locks.guard.run(claim, lambda _: None, lambda _: None, beat=beat)

    return both
