"""What the ZooKeeper store keeps in the tree: nothing for long, fences that grow, and nobody else's nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import LockConfigError
from celery_locks.lease import Busy, Verdict
from celery_locks.stores.zookeeper.known import REMEMBERED
from celery_locks.stores.zookeeper.names import Folders, written
from tests.stores.contract.asking import ODD_KEYS, claim, refused, take, verdict
from tests.stores.places import straight
from tests.stores.zookeeper_stores import bare, chroot, is_free, lasting, locks, opened, owners

if TYPE_CHECKING:
    from celery_locks.stores.zookeeper import ZooKeeperStore
    from tests.servers.zookeeper import ZooKeeperServer
    from tests.stores.places import Place


@pytest.fixture
def place(zookeeper_url: str) -> Place:
    return straight(lasting(zookeeper_url), opened, "&timeout=30")


def test_many_keys_leave_nothing_behind(store: ZooKeeperStore, zookeeper_url: str) -> None:
    """Neither in the tree, where a prefix has two folders, nor in the process, where a few owners are remembered."""
    for number in range(300):
        take(store, f"key {number}")
        assert store.release(claim(f"key {number}"))
        refused(store, f"key {number}", "anna")
    with bare(zookeeper_url) as client:
        assert sorted(client.get_children(chroot(zookeeper_url))) == ["lock:,locks", "lock:,owners"]
        assert (locks(client, zookeeper_url), owners(client, zookeeper_url)) == ([], 0)
    known = store._session.known
    assert not known.mine
    assert not known._leaving
    assert not known._asked
    for number in range(REMEMBERED + 10):
        known.done.add(str(number))
    assert len(known.done._names) == REMEMBERED
    assert str(REMEMBERED) in known.done
    assert "1" not in known.done


def test_fences_grow_when_the_folders_are_removed(store: ZooKeeperStore, zookeeper_url: str) -> None:
    """A node's own sequence number would start again at 0 then, and its folder's version too; the zxid goes on."""
    fences = []
    with bare(zookeeper_url) as client:
        for owner in ("anna", "ben", "cleo"):
            fences.append(take(store, "wallet", owner).fence)
            client.delete(chroot(zookeeper_url), recursive=True)
            assert store.inspect("wallet") is None
    assert fences == sorted(set(fences))


def test_fences_grow_across_a_restart(
    store: ZooKeeperStore, other: ZooKeeperStore, zookeeper_server: ZooKeeperServer
) -> None:
    """Killed and started again, the server counts on from what it has written down, and knows who holds."""
    first = take(store, "wallet")
    zookeeper_server.kill()
    zookeeper_server.start()
    assert refused(other, "wallet", "ben").holder == "anna"
    assert verdict(store, first) is Verdict.RENEWED
    assert store.release(first.claim)
    assert take(other, "wallet", "ben").fence > first.fence


def test_a_removed_node_is_a_lost_lock(store: ZooKeeperStore, other: ZooKeeperStore, zookeeper_url: str) -> None:
    """Who removes nodes by hand takes the locks away: the holder learns it, and harms nobody after."""
    lease = take(store, "wallet")
    with bare(zookeeper_url) as client:
        client.delete(chroot(zookeeper_url), recursive=True)
    assert verdict(store, lease) is Verdict.LOST
    take(other, "wallet", "ben")
    assert not store.release(lease.claim)
    assert refused(store, "wallet", "cleo").holder == "ben"


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"{}", b'["wallet"]', b'["wallet", 5]', b"[" * 5000])
def test_foreign_nodes_are_respected_and_shown(store: ZooKeeperStore, zookeeper_url: str, content: bytes) -> None:
    """Whatever somebody else has put in a lock's place keeps it taken, is shown, and goes by force alone."""
    take(store, "other")
    with bare(zookeeper_url) as client:
        client.create(f"{chroot(zookeeper_url)}/lock:,locks/wallet", content)
    assert store.acquire(claim("wallet")) == Busy()
    assert not store.release(claim("wallet"))
    assert store.inspect("wallet").owner == "unknown"
    assert {holding.key: holding.owner for holding in store.list()} == {"other": "anna", "wallet": "unknown"}
    assert store.force_release("wallet")
    take(store, "wallet", "ben")


def test_the_names_of_nodes_can_be_read_and_never_meet() -> None:
    """A plain key is its node's name; odd ones are quoted, long ones shortened; no two are the same."""
    folders = Folders.of("/locks", "bank:")
    assert folders == ("/locks/bank:,locks", "/locks/bank:,owners")
    assert folders.lock("wallet:42") == "/locks/bank:,locks/wallet:42"
    names = {key: folders.lock(key).removeprefix(f"{folders.locks}/") for key in ODD_KEYS.values()}
    assert len(set(names.values())) == len(ODD_KEYS)
    for key, name in names.items():
        assert "/" not in name
        assert name not in ("", ".", "..")
        assert len(name) <= 200
        assert folders.key(name) in (key, None)
        assert written(folders.name(key, "anna").data) == (key, "anna")
    assert Folders.of("", "").locks == "/,locks"
    assert Folders.of("", "zookeeper").locks == "/zookeeper,locks"
    assert (
        len({folders.name(key, owner).mark for key, owner in [("a", "bc"), ("ab", "c"), ("a", "b"), ("b", "a")]}) == 4
    )


def test_a_key_that_no_node_can_hold_is_a_mistake(store: ZooKeeperStore) -> None:
    """ZooKeeper ends the connection of whoever sends a megabyte: such a key is refused before, and the lock goes on."""
    lease = take(store, "wallet")
    take(store, "x" * 400_000)
    with pytest.raises(LockConfigError, match="shorter than"):
        store.acquire(claim("x" * 600_000))
    assert verdict(store, lease) is Verdict.RENEWED
    take(store, "stray \u20ac")
    assert {len(holding.key) for holding in store.list()} == {6, 400_000, 7}
    assert is_free(store, "stray")
