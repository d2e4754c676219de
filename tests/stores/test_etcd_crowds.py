"""Several holders of a key in etcd: who is faster between a look and a write, who is woken, and what is left."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from celery_locks.lease import Busy, Lease, Verdict
from celery_locks.stores.etcd import messages
from celery_locks.ticket import Ticket
from tests.stores.contract.asking import claim, take, verdict
from tests.stores.contract.crowding import alone, enter, owners, part, reader, turned_away
from tests.stores.etcd_stores import opened
from tests.stores.places import straight
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.etcd import EtcdStore
    from tests.servers.etcd import EtcdServer
    from tests.stores.places import Place

#: Longer than a busy machine pauses: who waits so long was not told.
LONG = 60.0


@pytest.fixture
def place(etcd_url: str) -> Place:
    return straight(etcd_url, opened)


@pytest.fixture
def before_it_joins(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Has something happen once, after a claim has looked who has the key and before it joins them."""
    due: list[Callable[[], object]] = []
    join = messages.join

    def late(*arguments: Any) -> Any:
        if due:
            due.pop()()
        return join(*arguments)

    monkeypatch.setattr(messages, "join", late)
    return due.append


FASTER: dict[str, Callable[[EtcdStore], object]] = {
    "takes the last slot": lambda other: enter(other, part("wallet", "faster", 2)),
    "reads": lambda other: [other.release(part("wallet", "a")), enter(other, reader("wallet", "faster"))],
    "takes it alone": lambda other: [other.release(part("wallet", "a")), take(other, "wallet", "faster")],
    "waits for it alone": lambda other: waits(other, "faster"),
}


def waits(store: EtcdStore, owner: str) -> None:
    """One that wants the key alone, and waits where it asks."""
    turned_away(store, alone("wallet", owner)._replace(ticket=Ticket(owner)))


@pytest.mark.parametrize("faster", FASTER.values(), ids=FASTER)
def test_who_was_faster_has_it(
    store: EtcdStore,
    other: EtcdStore,
    etcd_server: EtcdServer,
    before_it_joins: Callable[[Callable[[], object]], None],
    faster: Callable[[EtcdStore], object],
) -> None:
    """A claim that saw room, and wrote after another had come, is turned away, and leaves no lease behind."""
    enter(other, part("wallet", "a", 2))
    before_it_joins(lambda: faster(other))
    turned_away(store, part("wallet", "b", 2))
    assert "b" not in owners(other, "wallet")
    assert not store._leases._known
    held = {granted.number for granted in other._leases._known.values()}
    assert etcd_server.leases() - held - {other._marks.lease(talk) for talk in [other._wire.talk()]} <= {
        *other._waits.values()
    }


def test_one_whose_lease_is_gone_joins_with_another(
    store: EtcdStore, other: EtcdStore, before_it_joins: Callable[[Callable[[], object]], None]
) -> None:
    """It slept for longer than its ttl between its look and its word."""
    enter(other, part("wallet", "a", 2))

    def ended() -> None:
        with store._talk() as talk:
            for granted in [*store._leases._known.values()]:
                talk.ask(messages.REVOKE, messages.one(granted.number))

    before_it_joins(ended)
    assert verdict(store, enter(store, part("wallet", "b", 2))) is Verdict.RENEWED
    assert owners(other, "wallet") == ["a", "b"]


def test_one_that_waits_alone_is_let_in_before_others(store: EtcdStore, other: EtcdStore) -> None:
    """While it asks again none comes in to share the key; when it had it, or asks no more, they do."""
    lease = enter(store, reader("wallet", "a"))
    waits(other, "writer")
    assert turned_away(store, reader("wallet", "b")).holder == "a"
    assert verdict(store, lease) is Verdict.RENEWED
    assert store.release(lease.claim)
    turned_away(store, reader("wallet", "b"))
    writing = take(other, "wallet", "writer")
    assert other.release(writing.claim)
    enter(store, reader("wallet", "b"))
    waits(other, "gone")
    turned_away(store, reader("wallet", "c"))
    wait_until(lambda: isinstance(store.acquire(reader("wallet", "c")), Lease), "one that asks no more to be forgotten")


@pytest.mark.parametrize("waiting", [part("wallet", "c", 2), reader("wallet", "c"), alone("wallet", "c")], ids=str)
def test_who_waits_for_those_with_slots_is_told(store: EtcdStore, other: EtcdStore, waiting: Any) -> None:
    """One of several that leaves before the watch begins, or while it lasts, ends it."""
    for name in "ab":
        enter(store, part("wallet", name, 2))
    turned_away(other, waiting)
    assert store.release(part("wallet", "a", 2))
    assert ended(lambda: other.watch("wallet", LONG))
    enter(store, part("wallet", "d", 2))
    turned_away(other, waiting)
    watching = threading.Thread(target=other.watch, args=("wallet", LONG))
    watching.start()
    assert store.release(part("wallet", "b", 2))
    watching.join(LONG / 2)
    assert not watching.is_alive()


def ended(wait: Callable[[], object]) -> bool:
    """Whether a wait ends long before its time."""
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(LONG / 2)
    return not thread.is_alive()


def test_owner_and_key_find_a_place_for_as_long_as_it_is_there(store: EtcdStore, other: EtcdStore) -> None:
    """One that renews for another is told what it holds by etcd, and whoever takes it alone later is no member."""
    lease = enter(store, reader("wallet", "a"))
    lease.claim = claim("wallet", "a")
    for _ in range(2):
        assert other.renew([lease]) == [Verdict.RENEWED]
    assert other.release(lease.claim)
    assert verdict(other, lease) is Verdict.LOST
    assert other.holders("wallet") == []
    assert take(other, "wallet", "b").held()
    assert other.release(claim("wallet", "b"))


def test_a_lock_of_another_prefix_is_no_holder(etcd_url: str, store: EtcdStore) -> None:
    """Though its name begins like those of a key that several hold."""
    with opened(etcd_url, "lock:{wallet}/r/") as odd:
        take(odd, "0" * 31)
        enter(store, part("other", "a"))
        assert store.holders("wallet") == []
        assert [holding.key for holding in store.list()] == ["other"]
        store.set_slots("other", 3)
        assert [holding.key for holding in store.list()] == ["other"]
        store.set_slots("other", None)


def test_one_that_is_done_gets_no_place(store: EtcdStore, other: EtcdStore) -> None:
    """Whoever has given its place back does not get another by a request that comes late."""
    lease = enter(store, part("wallet", "a"))
    assert store.release(lease.claim)
    assert store.release(lease.claim)
    assert other.acquire(part("wallet", "a")) == Busy()
    assert other.acquire(claim("wallet", "a")) == Busy()
