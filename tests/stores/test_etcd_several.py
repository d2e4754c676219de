"""Several keys in one lock in etcd: in one transaction and under one lease, of which each key can be parted."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Claim, Lease, Verdict
from celery_locks.stores.etcd import joint, messages
from celery_locks.stores.etcd.leases import keys_under
from celery_locks.stores.etcd.mending import Full, LeaseUnknown, Refused
from celery_locks.stores.several import JointLease, Several
from celery_locks.ticket import Stance, Ticket
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.contract.several import joint_claim, take_all
from tests.stores.etcd_stores import BRIEF, marks, opened, place_of
from tests.stores.time_limits import SoftTimeLimit

if TYPE_CHECKING:
    from celery_locks.stores.etcd import EtcdStore
    from tests.servers.etcd import EtcdServer
    from tests.servers.proxy import Proxy
    from tests.stores.places import Place

KEYS = ("a", "b", "c")
GRANT, TXN, REVOKE = messages.GRANT, messages.TXN, messages.REVOKE


@pytest.fixture
def place(etcd_url: str) -> Place:
    return place_of(etcd_url, BRIEF)


class Heard:
    """What a store says to its one server. `at`: it is stopped before its first request of that kind goes out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: EtcdStore, at: str = "") -> None:
        self.said: list[tuple[str, bytes]] = []
        self._store = store
        (member,) = store._wire.members
        post = member.post

        def heard(path: str, payload: bytes, *rest: Any) -> Any:
            self.said.append((path, payload))
            if path == at:
                raise SoftTimeLimit
            return post(path, payload, *rest)

        monkeypatch.setattr(member, "post", heard)

    def paths(self) -> list[str]:
        """Since it was last asked."""
        paths = [path for path, _ in self.said]
        self.said.clear()
        return paths

    def again(self, *kinds: str) -> None:
        """All of these kinds once more, in their order, as if they came late."""
        for path, payload in [each for each in self.said if each[0] in kinds]:
            # Most are refused: their lease is gone.
            with contextlib.suppress(Refused):
                self._store._wire.talk()._answered(path, payload)


def lease_of(server: EtcdServer) -> int:
    """The one lease that holds several keys."""
    (number,) = (number for number in server.leases() if keys_under(number) > 1)
    return number


def nothing_is_left(server: EtcdServer) -> bool:
    """Neither a key nor a lease of several: marks alone."""
    return server.kept().keys() == set(marks(server)) and len(server.leases()) == 1


def test_each_verb_is_two_requests_however_many_keys_there_are(
    store: EtcdStore, etcd_server: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One transaction takes all with one fence, one beat renews them, one transaction gives all back."""
    heard = Heard(monkeypatch, store)
    keys = [f"key {number:02}" for number in range(joint.MOST)]
    lease = take_all(store, keys)
    assert heard.paths() == [GRANT, TXN]
    assert {holding.fence for holding in store.list()} == {lease.fence}
    assert keys_under(lease_of(etcd_server)) == len(keys) == len([*store.list()])
    heard.paths()
    assert Several(store).renew([lease]) == [Verdict.RENEWED]
    assert heard.said[0][1].count(b"ID") == 1
    assert heard.paths() == [messages.KEEP_ALIVE, TXN]
    assert Several(store).release(lease.claim)
    assert heard.paths() == [TXN, REVOKE]
    assert nothing_is_left(etcd_server)
    assert not store._leases._known


def test_a_refusal_is_one_look_and_writes_nothing(
    store: EtcdStore, other: EtcdStore, etcd_server: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once one of its keys was met taken; the lease of the first try is gone."""
    take(other, "b", "ben")
    heard, leases = Heard(monkeypatch, store), etcd_server.leases()
    for paths in ([GRANT, TXN, REVOKE], [TXN]):
        answer = Several(store).acquire(joint_claim(KEYS))
        assert isinstance(answer, Busy)
        assert (answer.key, answer.holder) == ("b", "ben")
        assert heard.paths() == [*paths, messages.TIME_LEFT]
        assert etcd_server.leases() == leases


def test_more_keys_than_a_transaction_takes_go_one_after_another(store: EtcdStore, other: EtcdStore) -> None:
    """And so do those that come after another owner; all can be held, renewed and given back."""
    keys = [f"key {number:02}" for number in range(joint.MOST + 1)]
    lease = take_all(store, keys)
    assert isinstance(lease, JointLease)
    assert Several(store).renew([lease]) == [Verdict.RENEWED]
    assert refused(other, keys[-1]).holder == "anna"
    assert Several(store).release(lease.claim)
    assert [*store.list()] == []


@pytest.mark.parametrize("fault", ["cut_answer", "lose_answer"])
@pytest.mark.parametrize("request_", [b"lease/grant", b"kv/txn"])
def test_an_acquire_whose_answer_does_not_come_holds(
    store: EtcdStore, way: Proxy, etcd_server: EtcdServer, request_: bytes, fault: str
) -> None:
    """Sent again it is the same acquire, with the fence that all keys have, under the same one lease."""
    getattr(way, fault)(request_)
    lease = take_all(store, KEYS)
    assert not isinstance(lease, JointLease)
    assert [holding.fence for holding in store.list()] == [lease.fence] * 3
    assert Several(store).renew([lease]) == [Verdict.RENEWED]
    assert Several(store).release(lease.claim)
    assert nothing_is_left(etcd_server)


@pytest.mark.parametrize("fault", ["cut_answer", "lose_answer"])
@pytest.mark.parametrize("request_", [b"kv/txn", b"lease/revoke"])
def test_a_release_whose_answer_does_not_come_has_released(
    store: EtcdStore, way: Proxy, etcd_server: EtcdServer, request_: bytes, fault: str
) -> None:
    """The release is sent again and hears by the marks that it was done; keys and lease are gone."""
    lease = take_all(store, KEYS)
    getattr(way, fault)(request_)
    assert Several(store).release(lease.claim)
    assert nothing_is_left(etcd_server)
    assert Several(store).release(lease.claim)


def test_an_acquire_that_is_given_up_leaves_none_taken(store: EtcdStore, way: Proxy, other: EtcdStore) -> None:
    """No answer to any of its tries comes: all are given back, and the owner gets none of them any more."""
    for _ in range(10):
        way.lose_answer(b"kv/txn")
    with pytest.raises(StoreUnavailable):
        Several(store).acquire(joint_claim(KEYS))
    way.heal()
    assert [*other.list()] == []
    for key in KEYS:
        assert other.acquire(claim(key)) == Busy()
    assert Several(other).acquire(joint_claim(KEYS)) == Busy()
    take_all(other, KEYS, "ben")


def test_an_acquire_that_arrives_after_it_was_given_up_takes_none(
    store: EtcdStore, way: Proxy, other: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when the grant of its lease is as late as what was to be done under it."""
    heard = Heard(monkeypatch, store)
    for _ in range(10):
        way.lose_answer(b"kv/txn")
    with pytest.raises(StoreUnavailable):
        Several(store).acquire(joint_claim(KEYS))
    way.heal()
    for kinds in ((TXN,), (GRANT, TXN)):
        heard.again(*kinds)
        assert [*other.list()] == []
    take_all(other, KEYS, "ben")


def test_an_acquire_that_was_interrupted_finds_no_lease_after_its_release(
    store: EtcdStore, other: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has sent arrives later than its release, and is refused."""
    interrupted = Heard(monkeypatch, store, at=TXN)
    with pytest.raises(SoftTimeLimit):
        Several(store).acquire(joint_claim(KEYS))
    monkeypatch.undo()
    assert not Several(store).release(joint_claim(KEYS))
    (late,) = (payload for path, payload in interrupted.said if path == TXN)
    with pytest.raises(LeaseUnknown):
        store._wire.talk()._answered(TXN, late)
    assert [*other.list()] == []


def test_an_acquire_that_was_interrupted_and_done_is_given_back(
    store: EtcdStore, other: EtcdStore, etcd_server: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction arrives between the interrupt and the release."""
    interrupted = Heard(monkeypatch, store, at=TXN)
    with pytest.raises(SoftTimeLimit):
        Several(store).acquire(joint_claim(KEYS))
    monkeypatch.undo()
    interrupted.again(TXN)
    assert refused(other, "b").holder == "anna"
    assert Several(store).release(joint_claim(KEYS))
    assert nothing_is_left(etcd_server)


def test_whatever_arrives_again_changes_nothing(
    store: EtcdStore, other: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that was said before frees no key that is held, and takes none that is free."""
    heard = Heard(monkeypatch, store)
    lease = take_all(store, KEYS)
    heard.again(GRANT, TXN)
    assert Several(other).renew([lease]) == [Verdict.RENEWED]
    assert Several(store).release(lease.claim)
    heard.again(GRANT, TXN, REVOKE)
    assert [*other.list()] == []
    theirs = take_all(other, KEYS, "ben")
    heard.again(GRANT, TXN, REVOKE)
    assert Several(other).renew([theirs]) == [Verdict.RENEWED]
    again = take_all(store, ("d", "e"))
    heard.again(TXN, REVOKE)
    assert Several(store).renew([again, theirs]) == [Verdict.RENEWED] * 2


@pytest.mark.parametrize("verb", ["release", "undo", "force_release", "evict", "give up"])
def test_who_frees_one_of_them_leaves_the_others_taken(store: EtcdStore, other: EtcdStore, verb: str) -> None:
    """The lease that holds them all is not ended with one of them; the release of all ends the rest."""
    lease = take_all(store, KEYS)
    match verb:
        case "release":
            assert store.release(claim("b"))
        case "undo":
            store.undo(claim("b"))
        case "force_release":
            assert other.force_release("b")
        case "evict":
            assert not other.evict("b", lease.fence - 1)
            assert other.evict("b", lease.fence)
        case _:
            store._give_up(5.0, store._names(claim("b")))
    theirs = take(other, "b", "ben")
    assert [holding.owner for holding in other.list()] == ["anna", "ben", "anna"]
    assert Several(other).renew([lease]) == [Verdict.LOST]
    assert [verdict(store, lease.of(key)) for key in KEYS] == [Verdict.RENEWED, Verdict.LOST, Verdict.RENEWED]
    # One that was given back by its owner has a mark, and counts as given back.
    assert Several(store).release(lease.claim) is (verb in ("release", "give up"))
    assert [holding.owner for holding in other.list()] == ["ben"]
    assert verdict(other, theirs) is Verdict.RENEWED


def test_an_owner_that_asks_again_takes_what_it_has_and_what_is_free(store: EtcdStore, other: EtcdStore) -> None:
    """One of the keys was forced out: then they go one after another, and no other owner comes in between."""
    first = take_all(store, KEYS)
    assert other.force_release("b")
    second = take_all(other, KEYS)
    assert [second.fence > first.fence, refused(store, "a").holder] == [True, "anna"]
    assert Several(store).renew([second]) == [Verdict.RENEWED]
    assert Several(store).release(second.claim)
    assert [*other.list()] == []


def test_one_that_has_some_of_them_keeps_none_when_another_is_taken(store: EtcdStore, other: EtcdStore) -> None:
    """As where they are taken one after another: it must not wait with keys in its hand."""
    lease = take_all(store, KEYS)
    assert other.force_release("b")
    take(other, "b", "ben")
    answer = Several(store).acquire(lease.claim)
    assert isinstance(answer, Busy)
    assert (answer.key, answer.holder) == ("b", "ben")
    take(other, "a", "cleo")


@pytest.mark.parametrize("ttl", [5.0, 60.0])
def test_a_changed_ttl_holds_for_all_keys(
    store: EtcdStore, other: EtcdStore, etcd_server: EtcdServer, ttl: float
) -> None:
    """Each key has a lease of its own from then on, with its old fence, and another process can give all back."""
    lease = take_all(store, KEYS)
    lease.ttl = ttl
    for client in (store, other):
        assert Several(client).renew([lease]) == [Verdict.RENEWED]
        held = [*client.list()]
        assert [(each.key, each.fence) for each in held] == [(key, lease.fence) for key in KEYS]
        assert all(ttl - 3 <= (each.remaining or 0.0) <= ttl for each in held)
    assert Several(other).release(lease.claim)
    assert etcd_server.kept().keys() == set(marks(etcd_server))


def test_another_process_renews_and_gives_back(
    store: EtcdStore, other: EtcdStore, place: Place, etcd_server: EtcdServer
) -> None:
    """By the claim alone, as a worker's main process does; the lease in etcd ends with the keys."""
    lease = take_all(store, KEYS)
    assert Several(other).renew([lease]) == [Verdict.RENEWED]
    with opened(place.url) as third:
        assert Several(third).disown(lease.claim)
    assert not [number for number in etcd_server.leases() if keys_under(number) > 1]
    assert [*other.list()] == []
    assert Several(store).renew([lease]) == [Verdict.LOST]


def test_what_is_handed_on_in_part_ends_for_its_former_owner_alone(store: EtcdStore, other: EtcdStore) -> None:
    """The heir died after the first key: the former owner's release frees the rest, and not what the heir has."""
    lease = take_all(store, KEYS)
    heir = other.acquire(claim("a", "ben")._replace(after="anna"))
    assert isinstance(heir, Lease)
    assert heir.fence == lease.fence
    assert refused(other, "b", "cleo").holder == "anna"
    assert not Several(store).release(lease.claim)
    assert [holding.owner for holding in other.list()] == ["ben"]
    assert verdict(other, heir) is Verdict.RENEWED


def test_a_reader_is_waited_for_and_all_are_had_after_it(store: EtcdStore, other: EtcdStore) -> None:
    """One key is shared: none is taken, new readers of it stay out while one waits, and then all are alone."""
    reads = claim("b", "reader")._replace(shared=True)
    assert isinstance(other.acquire(reads), Lease)
    waits = joint_claim(KEYS)._replace(ticket=Ticket("ticket", Stance.WAITS))
    answer = Several(store).acquire(waits)
    assert isinstance(answer, Busy)
    assert (answer.key, answer.holder) == ("b", "reader")
    assert isinstance(other.acquire(reads._replace(owner="late")), Busy)
    assert other.release(reads)
    assert isinstance(Several(store).acquire(waits), Lease)
    assert not store._waits
    assert [refused(other, key).holder for key in KEYS] == ["anna"] * 3


def test_an_owner_that_is_done_with_one_key_gets_none(store: EtcdStore, other: EtcdStore) -> None:
    """Its mark on any of them refuses all."""
    assert store.release(take(store, "b").claim)
    assert Several(other).acquire(joint_claim(KEYS)) == Busy()
    assert [*other.list()] == []


def test_those_of_a_group_give_nothing_up_for_each_other(store: EtcdStore, way: Proxy, other: EtcdStore) -> None:
    """They ask in one name: what one of them did not hear of may be another's by now."""
    asked = joint_claim(KEYS)._replace(in_common=True)
    for _ in range(10):
        way.lose_answer(b"kv/txn")
    with pytest.raises(StoreUnavailable):
        Several(store).acquire(asked)
    way.heal()
    assert [holding.owner for holding in other.list()] == ["anna"] * 3
    assert isinstance(Several(store).acquire(asked), Lease)
    assert Several(store).release(asked)


@pytest.mark.parametrize("meanwhile", ["another takes them", "the other's beat", "after its ttl was changed"])
def test_one_of_a_group_ends_no_lease_of_another(
    store: EtcdStore, other: EtcdStore, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    """Two threads of a process ask in one name: one gives back what it was granted itself, and keys stay taken."""
    asked, held = joint_claim(KEYS)._replace(in_common=True), []
    if meanwhile != "another takes them":
        held.append(Several(store).acquire(asked))
    if meanwhile == "after its ttl was changed":
        held[0].ttl = 60.0
        assert Several(store).renew(held) == [Verdict.RENEWED]
    taking = joint.take

    def late(*given: Any) -> Any:
        monkeypatch.setattr(joint, "take", taking)
        if held:
            assert Several(store).renew(held) == [Verdict.RENEWED]
        else:
            held.append(Several(store).acquire(asked))
        return taking(*given)

    monkeypatch.setattr(joint, "take", late)
    second = Several(store).acquire(asked)
    assert isinstance(second, Lease)
    assert second.fences == held[0].fences
    assert {holding.fence for holding in other.list()} == {held[0].fence}
    assert Several(other).renew([held[0], second]) == [Verdict.RENEWED] * 2


@pytest.mark.parametrize("freed_before", [(), ("b",)])
def test_a_full_database_lets_go_of_all(
    store: EtcdStore, monkeypatch: pytest.MonkeyPatch, freed_before: tuple[str, ...]
) -> None:
    """It takes no mark any more: keys go with their lease, and where that holds less than it did, one by one."""
    lease = take_all(store, KEYS)
    for key in freed_before:
        assert store.force_release(key)
    (member,) = store._wire.members
    post = member.post

    def full(path: str, payload: bytes, *rest: Any) -> Any:
        if b"request_put" in payload:
            raise Full(8, "etcdserver: mvcc: database space exceeded")
        return post(path, payload, *rest)

    monkeypatch.setattr(member, "post", full)
    with pytest.raises(StoreUnavailable, match="its database is full"):
        Several(store).acquire(Claim("x", "ben", 30.0, others=("y",)))
    assert Several(store).renew([lease]) == [Verdict.LOST if freed_before else Verdict.RENEWED]
    assert Several(store).release(lease.claim) is (not freed_before)
    assert [*store.list()] == []
