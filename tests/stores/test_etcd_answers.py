"""What becomes of a lock in etcd when a request is late or its answer is cut off or lost."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import pytest

from celery_locks.lease import Busy, Verdict
from celery_locks.stores.etcd import messages
from celery_locks.stores.etcd.mending import Refused
from tests.stores.contract import LateAnswerContract
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.etcd_stores import BRIEF, LOCK, marks, number_of, opened, place_of
from tests.stores.places import deliver
from tests.stores.time_limits import SoftTimeLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.stores.etcd import EtcdStore
    from tests.servers.etcd import EtcdServer
    from tests.servers.proxy import Proxy
    from tests.stores.places import Place

#: What is found in each request of an acquire and of a release, in their order.
ACQUIRE = (b"lease/grant", b"kv/txn")
RELEASE = (b"kv/txn", b"lease/revoke")


@pytest.fixture
def place(etcd_url: str) -> Place:
    return place_of(etcd_url)


class TestEtcdAnswers(LateAnswerContract):
    """A client gives up when its time is over, whatever number of tries that was."""

    acquiring, releasing = b"lease/grant", b"kv/txn"
    marks_who_gave_up = False
    gives_back_within = 5

    @pytest.fixture
    def place(self, etcd_url: str) -> Place:
        return place_of(etcd_url, BRIEF)

    @pytest.fixture
    def delivered(self, way: Proxy) -> Callable[[], None]:
        return functools.partial(deliver, way, opened)

    @contextlib.contextmanager
    def unanswered(self, way: Proxy, request: bytes) -> Iterator[None]:
        del request
        for _ in range(10):
            way.lose_answer(b"kv/txn")
        yield
        way.heal()


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


def test_a_transaction_that_arrives_after_its_owner_gave_up_finds_no_lease(
    store: EtcdStore, other: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted before its answer, an owner releases what it never heard of: its request is refused when it comes."""
    said = _interrupted_at(monkeypatch, store, messages.TXN)
    with pytest.raises(SoftTimeLimit):
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
        raise SoftTimeLimit

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
