"""What the tests of the ZooKeeper store share: how one is opened, and what is in the server then."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from kazoo.client import KazooClient

from celery_locks.lease import Verdict
from celery_locks.stores.zookeeper import ZooKeeperStore
from tests.stores.contract.asking import take, verdict
from tests.stores.places import Place, opener
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.lease import Lease

#: Where a test waits for an answer that does not come it need not be as long as by default.
QUICK = "&timeout=0.5"


def lasting(url: str, seconds: int = 60) -> str:
    """The same with sessions that outlive what a test does to them, also on a busy machine."""
    return url.replace("session_timeout=3", f"session_timeout={seconds}")


opened = opener(ZooKeeperStore)


@contextlib.contextmanager
def _ready(url: str) -> Iterator[ZooKeeperStore]:
    # Its session is one that a busy machine does not end.
    with opened(lasting(url) + QUICK) as store:
        take(store, "first")
        yield store


def place_of(url: str) -> Place:
    return Place(url, opened, _ready)


@contextlib.contextmanager
def bare(url: str, **options: Any) -> Iterator[KazooClient]:
    """A client of kazoo's own at the same servers. Its paths are whole ones."""
    client = KazooClient(url.removeprefix("zookeeper://").rpartition("@")[2].partition("/")[0], **options)
    client.start(30)
    try:
        yield client
    finally:
        client.stop()
        client.close()


def chroot(url: str) -> str:
    return "/" + url.removeprefix("zookeeper://").partition("?")[0].partition("/")[2]


def locks(client: KazooClient, url: str) -> list[str]:
    """The names of the nodes of locks that there are."""
    return sorted(client.get_children(f"{chroot(url)}/lock:,locks"))


def owners(client: KazooClient, url: str) -> int:
    """How many nodes of owners there are."""
    return len(client.get_children(f"{chroot(url)}/lock:,owners"))


def end_session(store: ZooKeeperStore, url: str) -> None:
    """End the session of a store that holds something, as the server does when it has not heard of it for too long."""
    client = store._session._client
    assert client is not None
    identity = client._session_id, client._session_passwd

    def is_ended() -> bool:
        if not any(_session_of(looker, path) == identity[0] for path in paths):
            return True
        # The store takes its session back at once, perhaps before the word that ends it was sent.
        with bare(url, client_id=identity):
            return False

    with bare(url) as looker:
        paths = [f"{chroot(url)}/lock:,locks/{name}" for name in locks(looker, url)]
        wait_until(is_ended, "the end of the session")


def _session_of(client: KazooClient, path: str) -> int | None:
    stat = client.exists(path)
    return stat.ephemeralOwner if stat else None


def is_free(store: ZooKeeperStore, key: str) -> bool:
    return store.inspect(key) is None


def is_kept(store: ZooKeeperStore, lease: Lease) -> bool:
    return lease.held() and verdict(store, lease) is Verdict.RENEWED
