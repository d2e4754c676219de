"""What becomes of a lock in etcd when a request is late or its answer is cut off or lost."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Verdict
from celery_locks.stores.etcd import messages
from celery_locks.stores.etcd.mending import Refused
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.etcd_stores import BRIEF, LOCK, QUICK, marks, number_of, opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.stores.etcd import EtcdStore
    from tests.servers.etcd import EtcdServer
    from tests.servers.proxy import Proxy

#: What is found in each request of an acquire and of a release, in their order.
ACQUIRE = (b"lease/grant", b"kv/txn")
RELEASE = (b"kv/txn", b"lease/revoke")


@pytest.fixture
def way(proxy: Callable[[str], Proxy], etcd_url: str) -> Proxy:
    """A proxy on the way to an empty etcd."""
    return proxy(etcd_url)


@pytest.fixture
def store(way: Proxy) -> Iterator[EtcdStore]:
    """A client whose requests go through the proxy, and that has a connection and a lease for marks already."""
    with opened(way.url + QUICK) as store:
        assert store.release(take(store, "first").claim)
        yield store


@pytest.fixture
def other(etcd_url: str) -> Iterator[EtcdStore]:
    """A client whose way is never broken."""
    with opened(etcd_url) as store:
        yield store


@pytest.mark.parametrize("fault", ["cut_answer", "lose_answer"])
@pytest.mark.parametrize("request_", ACQUIRE)
def test_an_acquire_whose_answer_does_not_come_holds(
    store: EtcdStore, way: Proxy, other: EtcdStore, request_: bytes, fault: str
) -> None:
    """The request went through and its answer did not come: sent again it is the same acquire, with the same fence."""
    getattr(way, fault)(request_)
    lease = take(store, "wallet")
    holding = other.inspect("wallet")
    assert holding is not None
    assert (holding.owner, holding.fence) == ("anna", lease.fence)
    assert verdict(store, lease) is Verdict.RENEWED
    assert store.release(lease.claim)
    take(other, "wallet", "ben")


@pytest.mark.parametrize("fault", ["cut_answer", "lose_answer"])
@pytest.mark.parametrize("request_", RELEASE)
def test_a_release_whose_answer_does_not_come_has_released(
    store: EtcdStore, way: Proxy, etcd_server: EtcdServer, request_: bytes, fault: str
) -> None:
    """The release is sent again and hears that it was done; key and lease are gone."""
    lease = take(store, "wallet")
    number = number_of(store, lease.claim)
    getattr(way, fault)(request_)
    assert store.release(lease.claim)
    assert number not in etcd_server.leases()
    assert LOCK not in etcd_server.kept()


@pytest.mark.parametrize("fault", ["cut_answer", "lose_answer"])
@pytest.mark.parametrize("request_", [b"lease/keepalive", b"kv/txn"])
def test_a_renewal_whose_answer_does_not_come_has_renewed(
    store: EtcdStore, way: Proxy, request_: bytes, fault: str
) -> None:
    """Renewing twice is renewing."""
    lease = take(store, "wallet")
    getattr(way, fault)(request_)
    assert verdict(store, lease) is Verdict.RENEWED


def test_an_acquire_that_nobody_answers_is_an_outage_and_leaves_no_lock(way: Proxy, other: EtcdStore) -> None:
    """When its time is over the client gives back what it may have taken, and says that it does not know."""
    with opened(way.url + BRIEF) as store:
        take(store, "first")
        for _ in range(10):
            way.lose_answer(b"kv/txn")
        with pytest.raises(StoreUnavailable, match="hangs, is overloaded or out of reach"):
            store.acquire(claim("wallet"))
    take(other, "wallet", "ben")


def test_a_release_whose_answer_never_came_may_be_repeated(way: Proxy, other: EtcdStore) -> None:
    """Whoever hears of an outage and asks again hears that the key was given back, though others had it since."""
    with opened(way.url + BRIEF) as store:
        assert store.release(take(store, "first").claim)
        lease = take(store, "wallet")
        for _ in range(10):
            way.lose_answer(b"kv/txn")
        with pytest.raises(StoreUnavailable):
            store.release(lease.claim)
        for owner in ("ben", "cleo"):
            take(other, "wallet", owner)
            assert other.release(claim("wallet", owner))
        way.heal()
        assert store.release(lease.claim)


def test_an_acquire_that_arrives_after_its_client_gave_up_leaves_no_lock(way: Proxy, other: EtcdStore) -> None:
    """A request that the network held and let go later takes no key for nobody."""
    with opened(way.url + BRIEF) as store:
        take(store, "first")
        way.hold("requests")
        with pytest.raises(StoreUnavailable):
            store.acquire(claim("wallet"))
        take(other, "wallet", "ben")
        assert other.release(claim("wallet", "ben"))
        way.let_go("requests")
        _arrived(way)
    wait_until(lambda: other.inspect("wallet") is None, "what was taken to be given back", timeout=5)
    take(other, "wallet", "cleo")


def test_a_transaction_that_arrives_after_its_owner_gave_up_finds_no_lease(
    store: EtcdStore, other: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted before its answer, an owner releases what it never heard of: its request is refused when it comes."""
    said = _interrupted_at(monkeypatch, store, messages.TXN)
    with pytest.raises(_SoftTimeLimit):
        store.acquire(claim("wallet"))
    monkeypatch.undo()
    assert not store.release(claim("wallet"))
    with pytest.raises(Refused, match="requested lease not found"):
        _say_again(store, said)
    assert other.inspect("wallet") is None


def test_whatever_arrives_again_changes_nothing(
    store: EtcdStore, other: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that was said before, in its old order and one by one, frees no key that is held, and takes none."""
    said: list[_Said] = []
    _overheard(monkeypatch, store, said)
    assert other.release(take(other, "wallet", "ben").claim)
    take(other, "wallet", "cleo")
    for _ in range(3):
        refused(store, "wallet", "anna")
    assert other.release(claim("wallet", "cleo"))
    lease = take(store, "wallet", "anna")
    for ttl in (60, 20, 30):
        lease.ttl = ttl
        assert verdict(store, lease) is Verdict.RENEWED
    number = number_of(store, lease.claim)
    _all_again(store, said)
    _all_again(store, [each for each in said if each[0] == messages.GRANT])
    _all_again(store, [each for each in reversed(said) if each[0] == messages.TXN])
    assert store.inspect("wallet")[:3] == ("wallet", "anna", lease.fence)
    assert verdict(store, lease) is Verdict.RENEWED
    assert number_of(store, lease.claim) == number
    assert store.release(lease.claim)
    _all_again(store, said)
    assert store.inspect("wallet") is None
    new = take(other, "wallet", "dora")
    _all_again(store, said)
    assert verdict(other, new) is Verdict.RENEWED


def test_an_owner_that_is_done_gets_nothing_more(store: EtcdStore, other: EtcdStore) -> None:
    """Also a new request of an owner that has released is refused: it is marked."""
    lease = take(store, "wallet")
    assert store.release(lease.claim)
    assert store.acquire(lease.claim) == Busy()
    assert other.acquire(lease.claim) == Busy()
    take(other, "wallet", "ben")


def test_a_late_answer_is_heard_by_nobody(way: Proxy) -> None:
    """The answer that comes after its client gave up is not taken for the answer to the next request."""
    with opened(way.url + BRIEF) as store:
        take(store, "first")
        way.hold("answers")
        with pytest.raises(StoreUnavailable):
            store.acquire(claim("wallet", "anna"))
        way.let_go("answers")
        for number in range(10):
            assert take(store, f"key {number}", f"owner {number}").owner == f"owner {number}"
            assert refused(store, f"key {number}", "cleo").holder == f"owner {number}"
            assert store.inspect("none") is None


def test_a_late_renewal_renews_nothing_of_others(way: Proxy, other: EtcdStore) -> None:
    """A beat that arrives after the key has changed hands changes nothing."""
    with opened(way.url + BRIEF) as store:
        lease = take(store, "wallet")
        way.hold("requests")
        with pytest.raises(StoreUnavailable):
            store.renew([lease])
        assert other.release(lease.claim)
        new = take(other, "wallet", "ben")
        way.let_go("requests")
        _arrived(way)
        assert verdict(store, lease) is Verdict.LOST
    assert verdict(other, new) is Verdict.RENEWED


def test_marks_share_a_lease_and_end(store: EtcdStore, etcd_server: EtcdServer) -> None:
    """A release leaves a mark that ends by itself, and a hundred releases cost one lease more."""
    before = etcd_server.leases()
    for number in range(100):
        assert store.release(take(store, f"key {number}").claim)
    assert etcd_server.leases() == before
    assert len(marks(etcd_server)) == 101
    (shared,) = before
    assert int(etcd_server.ask("lease/timetolive", {"ID": shared})["grantedTTL"]) == 240


def test_a_lease_for_marks_that_is_gone_is_replaced(store: EtcdStore, etcd_server: EtcdServer) -> None:
    """Whoever revokes it, or restores a cluster without it, costs a release one more request and nothing else."""
    lease = take(store, "wallet")
    (shared,) = etcd_server.leases() - {number_of(store, lease.claim)}
    etcd_server.ask("lease/revoke", {"ID": shared})
    assert store.release(lease.claim)
    assert LOCK not in etcd_server.kept()
    assert len(marks(etcd_server)) == 1


class _SoftTimeLimit(Exception):
    """What Celery raises in the middle of anything."""


#: A path and what was posted there.
_Said = tuple[str, bytes]


def _overheard(monkeypatch: pytest.MonkeyPatch, store: EtcdStore, said: list[_Said]) -> None:
    (member,) = store._wire.members
    post = member.post

    def overheard(path: str, payload: bytes, *rest: Any) -> Any:
        said.append((path, payload))
        return post(path, payload, *rest)

    monkeypatch.setattr(member, "post", overheard)


def _interrupted_at(monkeypatch: pytest.MonkeyPatch, store: EtcdStore, at: str) -> list[_Said]:
    """Interrupt the store before a request of that kind is sent, and note it."""
    said: list[_Said] = []
    (member,) = store._wire.members
    post = member.post

    def interrupted(path: str, payload: bytes, *rest: Any) -> Any:
        if path != at:
            return post(path, payload, *rest)
        said.append((path, payload))
        raise _SoftTimeLimit

    monkeypatch.setattr(member, "post", interrupted)
    return said


def _say_again(store: EtcdStore, said: list[_Said]) -> None:
    for path, payload in said:
        headers = {"Connection": "close"} if path == messages.KEEP_ALIVE else {}
        store._wire.talk()._answered(path, payload, headers)


def _all_again(store: EtcdStore, said: list[_Said]) -> None:
    for each in list(said):
        # Most are refused: their lease is gone.
        with contextlib.suppress(Refused):
            _say_again(store, [each])


def _arrived(way: Proxy) -> None:
    """Everything that was held has been passed on, and a request sent after it has been answered."""
    wait_until(lambda: not way.waiting("requests"), "the held requests to go on")
    with opened(way.url) as store:
        store.inspect("none")
