"""Several holders of a key in ZooKeeper: who is faster between a look and a write, who is woken, and what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from kazoo.protocol.states import ZnodeStat

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Verdict
from celery_locks.stores.zookeeper import crowd
from tests.stores.contract.asking import claim, take, verdict
from tests.stores.contract.crowding import alone, enter, owners, part, reader, turned_away
from tests.stores.contract.watchers import LONG
from tests.stores.crowd_races import WatchedCrowdRaces, told_to_wait, waits
from tests.stores.places import straight
from tests.stores.zookeeper_stores import bare, chroot, end_session, lasting, locks, opened, place_of
from tests.stores.zookeeper_stores import owners as marks
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.zookeeper import ZooKeeperStore
    from tests.servers.proxy import Proxy
    from tests.stores.crowd_races import Between
    from tests.stores.places import Place


@pytest.fixture
def place(zookeeper_url: str) -> Place:
    return straight(lasting(zookeeper_url), opened, "&timeout=30")


def before(monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> Between:
    """Has something happen once, before this is next called."""
    due: list[Callable[[], object]] = []
    real = getattr(where, name)

    def late(*arguments: Any) -> Any:
        if due:
            due.pop()()
        return real(*arguments)

    monkeypatch.setattr(where, name, late)
    return due.append


@pytest.fixture
def before_it_joins(monkeypatch: pytest.MonkeyPatch) -> Between:
    """After a claim has looked who has the key, and before it joins them."""
    return before(monkeypatch, crowd.Crowding, "_joining")


class TestRaces(WatchedCrowdRaces):
    """Who is faster between a look and a write, and who is told."""

    @pytest.fixture
    def leaves_nothing(self, store: ZooKeeperStore) -> Callable[[], None]:
        def look() -> None:
            assert not store._session.known.mine
            assert not store._session.known.members

        return look


def test_a_key_that_was_free_is_not_joined_on_others_terms(
    store: ZooKeeperStore, other: ZooKeeperStore, before_it_joins: Between
) -> None:
    """Of two that find it free one comes first; the other looks again, and joins only whom it may join."""
    before_it_joins(lambda: enter(other, reader("wallet", "reads")))
    turned_away(store, part("wallet", "slot"))
    assert other.release(reader("wallet", "reads"))
    before_it_joins(lambda: enter(other, part("wallet", "first")))
    enter(store, part("wallet", "second"))
    assert owners(other, "wallet") == ["first", "second"]


@pytest.mark.parametrize("comes", [alone("wallet", "ben"), part("wallet", "ben")], ids=["alone", "slot"])
def test_the_last_of_a_crowd_removes_no_later_lock(store: ZooKeeperStore, other: ZooKeeperStore, comes: Any) -> None:
    """Its word to remove the key's node, if empty, arrives when another has the key: that one keeps it."""
    lease = enter(store, part("wallet", "anna"))
    name = store._session.known.members[store._folders.name("wallet", "anna").mark]
    assert store.release(lease.claim)
    later = enter(other, comes)
    refused = store._asking.do(lambda client: crowd.sweep(client, name.crowd))
    assert len(refused) == 3
    assert verdict(other, later) is Verdict.RENEWED
    assert owners(store, "wallet") == ["ben"]


def test_of_two_that_clear_the_way_one_is_alone(
    store: ZooKeeperStore, other: ZooKeeperStore, zookeeper_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who held the key died: who takes it alone removes what they left, and nothing of one who was faster."""
    with opened(zookeeper_url) as dying:
        enter(dying, part("wallet", "dead"))
    turned_away_by = before(monkeypatch, crowd, "sweep")
    turned_away_by(lambda: take(other, "wallet", "ben"))
    turned_away(store, alone("wallet", "anna"))
    assert owners(store, "wallet") == ["ben"]


def test_nothing_is_left_of_a_crowd(store: ZooKeeperStore, other: ZooKeeperStore, zookeeper_url: str) -> None:
    """When the last has left, or its session has ended and another came, its key is one like any other."""
    with bare(zookeeper_url) as client:
        for client_of in (store, other):
            enter(client_of, reader("wallet", f"reader {client_of is store}"))
        waits(other, "writer")
        store.set_slots("wallet", 3)
        assert [holding.key for holding in other.list()] == ["wallet", "wallet"]
        assert store.release(reader("wallet", "reader True"))
        assert other.release(reader("wallet", "reader False"))
        wait_until(lambda: locks(client, zookeeper_url) == [], "the node of the key to be removed")
        assert take(other, "wallet", "writer").held()
        assert other.release(claim("wallet", "writer"))
        store.set_slots("wallet", None)
        assert (locks(client, zookeeper_url), marks(client, zookeeper_url)) == ([], 0)
        below = f"{chroot(zookeeper_url)}/lock:,crowds"
        assert client.get_children(f"{below}/waits") == client.get_children(f"{below}/slots") == []
        assert len(client.get_children(f"{below}/joins")) == 1


def test_the_end_of_a_session_frees_its_places_alone(
    store: ZooKeeperStore, other: ZooKeeperStore, zookeeper_url: str
) -> None:
    """Those who hold the key with them keep theirs, and one that waits is told."""
    with opened(lasting(zookeeper_url)) as dying:
        leases = [enter(dying, part("wallet", name)) for name in "ab"]
        kept = enter(store, part("wallet", "c"))
        take(dying, "alone")
        with told_to_wait(other, part("wallet", "d")) as ended:
            end_session(dying, zookeeper_url)
            wait_until(lambda: ended, "the watch to end", LONG / 2)
        wait_until(lambda: owners(other, "wallet") == ["c"], "their places to be free")
        wait_until(lambda: dying.renew(leases) == [Verdict.LOST] * 2, "them to hear of it")
    enter(other, part("wallet", "d"))
    assert verdict(store, kept) is Verdict.RENEWED


def test_one_that_gives_up_is_waited_for_no_more(store: ZooKeeperStore, other: ZooKeeperStore) -> None:
    """Interrupted, or in a process that died: who reads comes in at once, or when that session is over."""
    enter(store, reader("wallet", "a"))
    waits(other, "writer")
    turned_away(store, reader("wallet", "b"))
    assert not other.release(alone("wallet", "writer"))
    enter(store, reader("wallet", "b"))
    waits(other, "writer again")
    turned_away(store, reader("wallet", "c"))
    other.close()
    enter(store, reader("wallet", "c"))


def test_a_leader_whose_clock_is_behind_keeps_nobody_out(
    store: ZooKeeperStore, other: ZooKeeperStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that waited alone asks no more, and by the clock of the next leader it will have asked in an hour."""
    asking = store._crowding._asking
    real = asking.ask

    def behind(*given: Any, **named: Any) -> list[Any]:
        answers = real(*given, **named)
        return [
            each._replace(mtime=each.mtime - 3_600_000) if isinstance(each, ZnodeStat) else each for each in answers
        ]

    enter(store, reader("wallet", "a"))
    waits(other, "gone")
    monkeypatch.setattr(asking, "ask", behind)
    enter(store, reader("wallet", "b"))
    assert {each.owner for each in other.holders("wallet")} == {"a", "b"}


class TestBrokenWays:
    """What arrives without its answer, or late."""

    @pytest.fixture
    def place(self, zookeeper_url: str) -> Place:
        return place_of(zookeeper_url)

    def test_a_place_whose_answer_is_cut_off_is_known_again(
        self, store: ZooKeeperStore, way: Proxy, other: ZooKeeperStore
    ) -> None:
        """The node that was made unheard is found after the reconnection, and is one place and no more."""
        enter(other, part("wallet", "ben", 2))
        way.cut_answer(b'["wallet", "anna"]')
        lease = enter(store, part("wallet", "anna", 2))
        assert owners(other, "wallet") == ["ben", "anna"]
        assert verdict(store, lease) is Verdict.RENEWED
        assert enter(store, lease.claim).fence == lease.fence
        way.cut_answer(b",owners/")
        assert store.release(lease.claim)
        assert store.release(lease.claim)
        assert owners(other, "wallet") == ["ben"]

    @pytest.mark.parametrize("held_back", ["requests", "answers"])
    def test_one_that_gave_up_has_no_place(
        self, store: ZooKeeperStore, way: Proxy, other: ZooKeeperStore, before_it_joins: Between, held_back: str
    ) -> None:
        """Whether its request arrived unheard or arrives late: it is undone, and its owner gets nothing more."""
        enter(store, part("wallet", "ben", 2))
        before_it_joins(lambda: way.hold(held_back))
        with pytest.raises(StoreUnavailable):
            store.acquire(part("wallet", "anna", 2))
        way.let_go()
        turned_away(store, part("wallet", "anna", 2))
        wait_until(lambda: owners(other, "wallet") == ["ben"], "the place to be given back")
        enter(other, part("wallet", "cleo", 2))

    def test_a_mark_that_cannot_be_taken_back_costs_no_lock(
        self, store: ZooKeeperStore, way: Proxy, other: ZooKeeperStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that waited has the key, though the word that it waits no more is not answered."""
        lease = enter(other, reader("wallet", "reads"))
        waits(store, "writer")
        assert other.release(lease.claim)
        before(monkeypatch, crowd, "removal")(lambda: way.hold("answers"))
        writing = take(store, "wallet", "writer")
        way.let_go()
        assert owners(other, "wallet") == ["writer"]
        assert store.release(writing.claim)

    def test_a_place_given_back_without_a_connection_is_free_when_it_is_back(
        self, store: ZooKeeperStore, way: Proxy, other: ZooKeeperStore
    ) -> None:
        """The session lasts, and its other places stay."""
        gone, kept = (enter(store, part("wallet", name)) for name in "ab")
        way.refuse()
        with pytest.raises(StoreUnavailable):
            store.release(gone.claim)
        assert owners(other, "wallet") == ["a", "b"]
        way.accept()
        wait_until(lambda: owners(other, "wallet") == ["b"], "the place to be free")
        assert verdict(store, kept) is Verdict.RENEWED
