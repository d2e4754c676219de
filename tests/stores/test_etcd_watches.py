"""Watches of the etcd store: what ends them, and that they leave nothing behind."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import signal
import threading
import time
from typing import TYPE_CHECKING, ClassVar

import pytest

from celery_locks.stores.etcd.watching import UNSEEING, Watch
from tests.stores.contract.asking import claim, refused, take
from tests.stores.contract.watchers import LONG, pause, running, waiting, watched
from tests.stores.etcd_stores import QUICK, opened
from tests.stores.places import straight
from tests.stores.processes import Crew
from tests.stores.time_limits import SoftTimeLimit, struck_after
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.etcd import EtcdStore
    from tests.servers.etcd import EtcdCluster, EtcdServer
    from tests.servers.proxy import Proxy
    from tests.stores.places import Place


@pytest.fixture
def place(etcd_url: str) -> Place:
    return straight(etcd_url, opened)


def watchers(server: EtcdServer) -> int:
    """How many watches the server keeps."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    (line,) = (line for line in lines if line.startswith("etcd_debugging_mvcc_watcher_total "))
    return int(float(line.split()[1]))


def test_a_watch_leaves_nothing_on_the_server(store: EtcdStore, other: EtcdStore, etcd_server: EtcdServer) -> None:
    """Woken, over, or interrupted: the server watches no more, also while a child lives that was forked meanwhile."""
    take(store, "wallet")
    refused(other, "wallet")
    with Crew() as crew:
        with waiting(other, "wallet"):
            wait_until(lambda: watchers(etcd_server) == 1, "the watch to stand")
            crew.start(signal.pause)
            assert store.release(claim("wallet"))
        take(store, "wallet", "cleo")
        refused(other, "wallet")
        watched(other, "wallet", 0.2)
        with pytest.raises(SoftTimeLimit), struck_after(0.3):
            other.watch("wallet", LONG)
        wait_until(lambda: watchers(etcd_server) == 0, "the watches to end")


def test_a_key_stays_watched_though_others_change(store: EtcdStore, other: EtcdStore) -> None:
    """What happens to other keys, before the watch and during it, is no reason to look again."""
    take(store, "wallet")
    refused(other, "wallet")
    take(store, "before")
    with running(lambda: other.watch("wallet", LONG)) as ended:
        pause(0.3)
        take(store, "after")
        assert store.release(claim("after"))
        pause(0.2)
        assert not ended
        assert store.release(claim("wallet"))
        wait_until(lambda: ended, "the release to be told", 30)


def test_a_look_is_spared_when_nothing_was_written(
    store: EtcdStore, other: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since the key was seen taken: then the watch misses nothing, and is the only request."""
    take(store, "wallet")
    refused(other, "wallet")
    looks: list[Watch] = []
    monkeypatch.setattr(Watch, "_is_taken", lambda watch, _: looks.append(watch) or True)
    watched(other, "wallet", 0.1)
    assert not looks
    take(store, "purse")
    watched(other, "wallet", 0.1)
    assert len(looks) == 1


def test_another_lease_is_no_release(store: EtcdStore, other: EtcdStore) -> None:
    """A holder that changes its ttl puts its key under another lease, and wakes nobody."""
    lease = take(store, "wallet")
    refused(other, "wallet")
    with running(lambda: other.watch("wallet", LONG)) as ended:
        pause(0.3)
        lease.ttl = 60.0
        store.renew([lease])
        pause(0.2)
        assert not ended
        assert store.release(lease.claim)
        wait_until(lambda: ended, "the release to be told", 30)


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_the_loss_of_a_member_loses_no_wake(etcd_cluster: EtcdCluster, fault: str) -> None:
    """The member at which the watch was is killed, or hangs before it begins: another one tells."""
    etcd_cluster.flush()
    with opened(etcd_cluster.url + QUICK) as store, opened(etcd_cluster.url + QUICK) as other:
        take(store, "wallet", ttl=60)
        refused(other, "wallet")
        lost = next(node for node in etcd_cluster.nodes if node.port == other._wire.member().port)
        if fault == "pause":
            lost.pause()
            watched(other, "wallet")
            assert other._wire.member().port != lost.port
        with waiting(other, "wallet") as waiter:
            pause(0.5)
            if fault == "kill":
                lost.kill()
            pause(0.5)
            assert store.release(claim("wallet"))
            waiter.done()


def test_a_connection_that_breaks_ends_the_watch(
    store: EtcdStore, etcd_url: str, proxy: Callable[[str], Proxy]
) -> None:
    """Early, for a release may come while nobody watches."""
    take(store, "wallet")
    way = proxy(etcd_url)
    with opened(way.url) as other:
        refused(other, "wallet")
        with running(lambda: other.watch("wallet", LONG)) as ended:
            pause(0.3)
            way.cut()
            wait_until(lambda: ended, "the watch to end", 30)
        with waiting(other, "wallet") as waiter:
            assert store.release(claim("wallet"))
            waiter.done()


class _NoWatches(http.server.BaseHTTPRequestHandler):
    """What a proxy says that lets no streams through."""

    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


def test_where_there_is_no_watch_a_waiter_does_not_hurry() -> None:
    """Refused, a watch takes a while before it ends, or its waiter would ask without a pause; never past its time."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _NoWatches) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with opened(f"etcd://127.0.0.1:{server.server_port}") as store:
            begun = time.monotonic()
            for _ in range(3):
                store.watch("wallet", LONG)
            assert time.monotonic() - begun >= 3 * UNSEEING
            watched(store, "wallet", 0.01)
        server.shutdown()
    assert set(_NoWatches.asked) == {"/v3/watch"}
