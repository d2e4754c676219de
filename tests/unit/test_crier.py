"""Who reports a loss, and when: those who listen may take long."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from celery_locks import signals
from celery_locks.errors import StoreUnavailable
from celery_locks.keeper import Keeper
from celery_locks.lease import Claim, Verdict
from celery_locks.stores.memory import MemoryStore
from tests.unit.fakes import Room, heard
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_locks.lease import Lease


def test_a_receiver_that_takes_long_holds_up_no_job(room: Room, hold):
    """All jobs are told of their losses before the first is reported."""
    order: list[str] = []
    for number in range(3):
        hold(f"wallet:{number}", on_lost=lambda _: order.append("told"))

    def listens(_: object) -> None:
        order.append("reported")

    signals.lost.connect(listens)
    room.clock.advance(60.0)
    room.keeper.tick()
    signals.lost.disconnect(listens)
    assert order == ["told"] * 3 + ["reported"] * 3


def test_a_receiver_that_hangs_holds_up_no_job():
    """Nor those whose leases end later."""
    store, told, hangs, go_on = MemoryStore(), threading.Event(), threading.Event(), threading.Event()
    store.renew = lambda _: []  # type: ignore[method-assign,assignment]
    keeper = Keeper(store)

    def listens(_: object) -> None:
        hangs.set()
        go_on.wait(60.0)

    signals.lost.connect(listens)
    try:
        keeper.watch(store.acquire(Claim("first", "first", 0.05)), 60.0)
        keeper.watch(store.acquire(Claim("second", "second", 0.5)), 60.0, lambda _: told.set())
        assert hangs.wait(60.0)
        assert told.wait(20.0)
    finally:
        go_on.set()
        wait_until(lambda: not keeper._crier._unsaid, "all to be reported")
        signals.lost.disconnect(listens)


def test_a_job_that_ends_first_reports_its_loss(room: Room, hold, monkeypatch):
    """Before it is over, and once."""
    lease = hold()
    monkeypatch.setattr(room.keeper._crier, "report", lambda: None)
    room.clock.advance(60.0)
    with heard(signals.lost) as lost:
        room.keeper.tick()
        assert lost == []
        room.guard.ended(lease)
        room.guard.ended(lease)
    assert [event.key for event in lost] == ["wallet:42"]


def test_a_receiver_that_hangs_holds_up_no_beat():
    """One beat has no answer, and whoever is told of that takes long: the next comes soon."""
    store, again, hangs, go_on = MemoryStore(), threading.Event(), threading.Event(), threading.Event()
    answers = iter((StoreUnavailable("the server does not answer"),))

    def renew(leases: Sequence[Lease]) -> list[Verdict]:
        for error in answers:
            raise error
        again.set()
        return [Verdict.RENEWED for _ in leases]

    def listens(_: object) -> None:
        hangs.set()
        go_on.wait(60.0)

    store.renew = renew  # type: ignore[method-assign,assignment]
    keeper = Keeper(store)
    signals.outage.connect(listens)
    try:
        keeper.watch(store.acquire(Claim("wallet:42", "me", 60.0)), 0.1)
        assert hangs.wait(60.0)
        assert again.wait(20.0)
    finally:
        go_on.set()
        signals.outage.disconnect(listens)


def test_a_loss_is_reported_before_an_outage(room: Room, hold):
    """However many had no answer."""
    lease, crier = hold(), room.keeper._crier
    crier._rounds.thread = threading.current_thread()
    with heard(signals.lost, signals.outage) as said:
        crier.doubt([lease.claim], "the server does not answer")
        crier.add(room.keeper._watched[lease.owner])
        crier.report()
    assert [type(event).__name__ for event in said] == ["Lost", "Outage"]
