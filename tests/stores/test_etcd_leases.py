"""The leases of the etcd store: one a holder, none a try, and none that is believed in for too long."""

from __future__ import annotations

import base64
import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

import pytest

from celery_locks.lease import Busy, Lease, Verdict
from celery_locks.stores.etcd import leases as leases_
from celery_locks.stores.etcd import messages
from celery_locks.stores.etcd.contended import FREE, MOST
from celery_locks.stores.etcd.renewal import Renewal
from tests.stores.contract.asking import claim, patient, refused, take, verdict
from tests.stores.etcd_stores import LOCK, marks, number_of, opened
from tests.stores.places import straight
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.stores.etcd import EtcdStore
    from tests.servers.etcd import EtcdServer
    from tests.stores.places import Place


@pytest.fixture
def place(etcd_url: str) -> Place:
    return straight(etcd_url, opened)


@pytest.fixture
def open_another(etcd_url: str) -> Iterator[Callable[[], EtcdStore]]:
    with contextlib.ExitStack() as stores:
        yield lambda: stores.enter_context(opened(etcd_url))


def _revision(server: EtcdServer) -> int:
    return int(server.ask("kv/range", {"key": "AA=="})["header"]["revision"])


def test_a_holder_has_one_lease_and_a_refused_try_none(
    store: EtcdStore, other: EtcdStore, etcd_server: EtcdServer
) -> None:
    """However often others ask for a taken key, there is one lease in etcd, that of its holder."""
    lease = take(store, "wallet")
    for number in range(20):
        refused(other, "wallet", f"ben {number}")
        refused(other, "wallet", "cleo")
    assert etcd_server.leases() == {number_of(store, lease.claim)}


def test_a_refused_try_ends_no_lease_of_another(
    store: EtcdStore, other: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads of a process ask in one name; the first is refused, and the second has the key by then."""
    theirs, held, found = take(other, "wallet", "ben"), [], messages.found_all

    def late(answer: Any) -> Any:
        monkeypatch.setattr(messages, "found_all", found)
        assert other.release(theirs.claim)
        held.append(take(store, "wallet"))
        return found(answer)

    monkeypatch.setattr(messages, "found_all", late)
    assert isinstance(store.acquire(claim("wallet")._replace(in_common=True)), Busy)
    assert verdict(other, held[0]) is Verdict.RENEWED


def test_asking_for_a_taken_key_again_writes_nothing(
    store: EtcdStore, other: EtcdStore, etcd_server: EtcdServer
) -> None:
    """A waiter that looks again and again costs the cluster's disks nothing."""
    take(store, "wallet")
    refused(other, "wallet")
    index = etcd_server.ask("maintenance/status")["raftIndex"]
    for number in range(20):
        refused(other, "wallet", f"ben {number}")
    assert etcd_server.ask("maintenance/status")["raftIndex"] == index


def test_a_key_that_many_want_costs_no_lease_in_vain(
    store: EtcdStore, other: EtcdStore, etcd_server: EtcdServer
) -> None:
    """Whoever met a key taken looks first also after it had the key itself: it is likely to meet it taken again."""
    lease = take(store, "wallet")
    refused(other, "wallet")
    assert store.release(lease.claim)
    assert other.release(take(other, "wallet", "ben").claim)
    take(store, "wallet", "cleo")
    index = etcd_server.ask("maintenance/status")["raftIndex"]
    refused(other, "wallet", "dora")
    assert etcd_server.ask("maintenance/status")["raftIndex"] == index


def test_a_memory_of_taken_keys_has_an_end(store: EtcdStore, other: EtcdStore) -> None:
    """The oldest are forgotten when there are too many, and one that was found free a few times in a row."""
    for number in range(MOST):
        other._contended.add(f"key {number}")
    lease = take(store, "wallet")
    refused(other, "wallet")
    assert (len(other._contended), "key 0" in other._contended, "key 1" in other._contended) == (MOST, False, True)
    assert store.release(lease.claim)
    for number in range(FREE):
        assert "wallet" in other._contended
        assert other.release(take(other, "wallet", f"ben {number}").claim)
    assert "wallet" not in other._contended


def test_a_forced_release_meets_a_changed_ttl(
    store: EtcdStore, other: EtcdStore, etcd_server: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that moves its lock to another lease between the look and the revocation is forced out all the same."""
    lease = take(store, "wallet")
    post, talk, names = other._wire.members[0].post, store._wire.talk(), store._names(lease.claim)
    moves = iter([store._leases.grant(talk, names, 60)])

    def moved_before(path: str, *rest: Any) -> Any:
        if path == messages.REVOKE and (number := next(moves, None)):
            (taken,) = messages.shown(talk.ask(messages.RANGE, messages.look(LOCK)))
            assert talk.ask(messages.TXN, messages.move(names, number, taken))["succeeded"]
        return post(path, *rest)

    monkeypatch.setattr(other._wire.members[0], "post", moved_before)
    assert other.force_release("wallet")
    assert LOCK not in etcd_server.kept()
    assert verdict(store, lease) is Verdict.LOST


def test_a_forced_release_spares_whoever_came_next(
    store: EtcdStore, other: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key was freed, and taken at once: that one is not forced out as well."""
    take(store, "wallet")
    post, next_ = other._wire.members[0].post, []

    def taken_after(path: str, *rest: Any) -> Any:
        answer = post(path, *rest)
        if path == messages.REVOKE:
            next_.append(take(store, "wallet", "ben"))
        return answer

    monkeypatch.setattr(other._wire.members[0], "post", taken_after)
    assert other.force_release("wallet")
    assert [verdict(store, lease) for lease in next_] == [Verdict.RENEWED]


def test_release_deletes_and_revokes(store: EtcdStore, etcd_server: EtcdServer) -> None:
    """After a release neither key nor lease is left: a mark alone, under a lease that is shared."""
    lease = take(store, "wallet")
    number = number_of(store, lease.claim)
    assert store.release(lease.claim)
    assert etcd_server.kept().keys() == set(marks(etcd_server))
    assert number not in etcd_server.leases()
    assert not store._leases._known


def test_the_fence_is_the_revision_that_made_the_key(store: EtcdStore, etcd_server: EtcdServer) -> None:
    """A fence can be looked up with etcdctl: it is the create_revision of the key."""
    lease = take(store, "wallet")
    answer = etcd_server.ask("kv/range", {"key": base64.b64encode(LOCK.encode()).decode()})
    assert int(answer["kvs"][0]["create_revision"]) == lease.fence == _revision(etcd_server)


def test_a_lease_of_a_fraction_of_a_second_is_over_when_its_holder_says_so(
    store: EtcdStore, other: EtcdStore, etcd_server: EtcdServer
) -> None:
    """While etcd still keeps it for the rest of a second it is lost to its holder, and nobody else has the key yet."""
    before = time.monotonic()
    lease = take(store, "wallet", ttl=0.2)
    wait_until(lambda: not lease.held(), "the end of the lease")
    assert verdict(store, lease) is Verdict.LOST
    busy, kept = other.acquire(claim("wallet", "cleo")), etcd_server.kept()
    # On a machine that paused for so long, etcd's second was over.
    if time.monotonic() - before < 1.0:
        assert isinstance(busy, Busy)
        assert busy.holder == "anna"
        assert LOCK in kept
    else:
        other.release(claim("wallet", "cleo"))
    assert patient(other, "wallet", "ben", timeout=10).fence > lease.fence


@pytest.mark.parametrize("ttl", [5.0, 60.0, 30.4])
def test_a_changed_ttl_is_that_of_the_lease_in_etcd(store: EtcdStore, etcd_server: EtcdServer, ttl: float) -> None:
    """Renewed for longer or shorter, the key lies under one lease of that ttl, with its old fence, and can be freed."""
    lease = take(store, "wallet")
    lease.ttl = ttl
    for _ in range(2):
        assert verdict(store, lease) is Verdict.RENEWED
        (number,) = etcd_server.leases()
        assert int(etcd_server.ask("lease/timetolive", {"ID": number})["grantedTTL"]) == math.ceil(ttl)
        assert store.inspect("wallet")[:3] == ("wallet", "anna", lease.fence)
    assert store.release(lease.claim)
    assert number not in etcd_server.leases()


def test_a_lock_whose_lease_another_process_changed_is_renewed_where_it_is(
    store: EtcdStore, other: EtcdStore, etcd_server: EtcdServer
) -> None:
    """Which lease holds the key is asked of etcd: a former one, still alive, is not taken for it."""
    lease = take(store, "wallet", ttl=30)
    former = number_of(store, lease.claim)
    lease.ttl = 60
    assert verdict(other, lease) is Verdict.RENEWED
    (present,) = etcd_server.leases()
    etcd_server.ask("lease/grant", {"ID": former, "TTL": 30})
    assert verdict(store, lease) is Verdict.RENEWED
    assert number_of(store, lease.claim) == present
    etcd_server.ask("lease/revoke", {"ID": present})
    assert verdict(store, lease) is Verdict.LOST
    assert not store._leases._known


def test_a_process_that_knows_nothing_can_lengthen_and_release(
    store: EtcdStore, open_another: Callable[[], EtcdStore], etcd_server: EtcdServer
) -> None:
    """A lease is handed on by its claim alone: renewed, made longer, and given back with its lease in etcd."""
    lease = take(store, "wallet", ttl=5)
    lease.ttl = 60
    assert verdict(open_another(), lease) is Verdict.RENEWED
    (number,) = etcd_server.leases()
    assert int(etcd_server.ask("lease/timetolive", {"ID": number})["grantedTTL"]) == 60
    assert open_another().release(lease.claim)
    assert number not in etcd_server.leases()


def test_what_is_remembered_of_leases_has_an_end(store: EtcdStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks that are never given back are forgotten some day, and can be renewed and released all the same."""
    monkeypatch.setattr(leases_, "MOST", 5)
    held = [take(store, f"key {number}") for number in range(12)]
    assert len(store._leases._known) == 5
    assert store.renew(held) == [Verdict.RENEWED] * 12
    assert all(store.release(lease.claim) for lease in held)


def test_a_key_deleted_by_hand_is_lost_at_the_next_beat(
    store: EtcdStore, other: EtcdStore, etcd_server: EtcdServer
) -> None:
    """Whoever frees a key with `etcdctl del` leaves the lease alive: its holder learns of it all the same."""
    leases = [take(store, name) for name in ("wallet", "kept")]
    etcd_server.ask("kv/deleterange", {"key": base64.b64encode(LOCK.encode()).decode()})
    take(other, "wallet", "ben")
    assert store.renew(leases) == [Verdict.LOST, Verdict.RENEWED]


def test_a_key_made_by_hand_without_a_lease_is_shown_and_can_be_forced(
    store: EtcdStore, etcd_server: EtcdServer
) -> None:
    """What somebody put there holds the key, without an end, until it is forced out."""
    coded = {"key": base64.b64encode(LOCK.encode()).decode(), "value": base64.b64encode(b"by hand").decode()}
    etcd_server.ask("kv/put", coded)
    assert store.inspect("wallet")[:2] == ("wallet", "by hand")
    assert refused(store, "wallet").remaining is None
    assert store.force_release("wallet")
    take(store, "wallet")


def test_what_is_no_lock_of_this_prefix_is_not_listed(store: EtcdStore, etcd_server: EtcdServer) -> None:
    """Keys of others that begin like a lock, with letters of any kind, are passed over."""
    take(store, "wallet")
    for name in (b"lock:{a{b}", b"lock:{open", b"lock:{\xff\xfe", b"lock:|", b"lock:"):
        etcd_server.ask("kv/put", {"key": base64.b64encode(name).decode()})
    assert [holding.key for holding in store.list()] == ["wallet"]


def test_a_beat_is_one_request_for_the_leases_and_one_for_each_hundred_keys(
    store: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred and one leases are renewed in four requests."""
    leases = [take(store, f"key {number}") for number in range(201)]
    asked: list[str] = []
    post = type(store._wire.members[0]).post

    def counted(self: Any, path: str, *rest: Any) -> Any:
        asked.append(path)
        return post(self, path, *rest)

    monkeypatch.setattr(type(store._wire.members[0]), "post", counted)
    assert store.renew(leases) == [Verdict.RENEWED] * 201
    assert asked == [messages.KEEP_ALIVE, *[messages.TXN] * 3]


def test_a_renewal_by_a_leader_that_was_replaced_is_asked_again(
    store: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer given in another leader's term than that of the look after it proves nothing."""
    lease = take(store, "wallet")
    terms = iter([0, 0])
    asked = Renewal._kept_alive

    def of_a_former_leader(*arguments: Any) -> Any:
        answers = asked(*arguments)
        term = next(terms, None)
        return answers if term is None else {number: beat._replace(term=term) for number, beat in answers.items()}

    monkeypatch.setattr(Renewal, "_kept_alive", of_a_former_leader)
    assert verdict(store, lease) is Verdict.RENEWED
    assert next(terms, None) is None


def test_a_lease_that_is_not_answered_for_is_asked_for_again(store: EtcdStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a stream of answers may be missing: those leases are neither renewed nor lost yet."""
    leases = [take(store, f"key {number}") for number in range(5)]
    asked = Renewal._kept_alive

    def cut_short(self: Any, numbers: Any) -> Any:
        return asked(self, numbers[:2])

    monkeypatch.setattr(Renewal, "_kept_alive", cut_short)
    assert store.renew(leases) == [Verdict.RENEWED] * 5


def test_a_lease_without_a_deadline_of_ours_is_renewed(store: EtcdStore) -> None:
    """What says no deadline is left to etcd to judge."""
    lease = take(store, "wallet")
    assert verdict(store, Lease(lease.claim, lease.fence, None)) is Verdict.RENEWED
    assert verdict(store, Lease(lease.claim, lease.fence, time.monotonic() - 1)) is Verdict.LOST


def test_the_names_of_two_locks_are_never_one(store: EtcdStore) -> None:
    """Prefixes and keys that read the same together, braces and percent signs among them, are different locks."""
    pairs = [("a", "{x"), ("a{", "x"), ("a", "%7Bx"), ("a{b", "x"), ("a", "b{x"), ("a}", "x"), ("a", "}x")]
    for prefix, key in pairs:
        store.prefix = prefix
        take(store, key, owner=f"{prefix} {key}")
    for prefix, key in pairs:
        store.prefix = prefix
        assert refused(store, key).holder == f"{prefix} {key}"
        assert {holding.key for holding in store.list()} == {mine for theirs, mine in pairs if theirs == prefix}


def test_a_stray_surrogate_is_a_mistake(store: EtcdStore) -> None:
    """A key or owner that is no text is told as what it is."""
    for key, owner in (("\udcff", "anna"), ("wallet", "\udcff")):
        with pytest.raises(Exception, match=r"stray surrogate|written as UTF-8"):
            store.acquire(claim(key, owner))
