"""Several holders of a key in etcd: who is faster between a look and a write, who is woken, and what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_locks.lease import Busy, Verdict
from celery_locks.stores.etcd import messages
from tests.stores.contract.asking import claim, take, verdict
from tests.stores.contract.crowding import enter, owners, part, reader, turned_away
from tests.stores.crowd_races import WatchedCrowdRaces, waits
from tests.stores.etcd_stores import opened
from tests.stores.places import straight

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.etcd import EtcdStore
    from tests.servers.etcd import EtcdServer
    from tests.stores.crowd_races import Between
    from tests.stores.places import Place


@pytest.fixture
def place(etcd_url: str) -> Place:
    return straight(etcd_url, opened)


@pytest.fixture
def before_it_joins(monkeypatch: pytest.MonkeyPatch) -> Between:
    """Has something happen once, after a claim has looked who has the key and before it joins them."""
    due: list[Callable[[], object]] = []
    join = messages.join

    def late(*arguments: Any) -> Any:
        if due:
            due.pop()()
        return join(*arguments)

    monkeypatch.setattr(messages, "join", late)
    return due.append


class TestRaces(WatchedCrowdRaces):
    """Who is faster between a look and a write, and who is told."""

    @pytest.fixture
    def leaves_nothing(self, store: EtcdStore, other: EtcdStore, etcd_server: EtcdServer) -> Callable[[], None]:
        def look() -> None:
            assert not store._leases._known
            held = {granted.number for granted in other._leases._known.values()}
            assert etcd_server.leases() - held - {other._marks.lease(talk) for talk in [other._wire.talk()]} <= {
                *other._waits.values()
            }

        return look

    def test_who_began_to_wait_alone_was_faster(
        self, store: EtcdStore, other: EtcdStore, before_it_joins: Between, leaves_nothing: Callable[[], None]
    ) -> None:
        """It is waited for by a claim that had looked before, too."""
        enter(other, part("wallet", "a", 2))
        before_it_joins(lambda: waits(other, "faster"))
        turned_away(store, part("wallet", "b", 2))
        assert owners(other, "wallet") == ["a"]
        leaves_nothing()


def test_one_whose_lease_is_gone_joins_with_another(
    store: EtcdStore, other: EtcdStore, before_it_joins: Between
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
