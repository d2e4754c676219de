"""Stores where others wait for sockets in their own way: gevent, and eventlet, which takes `select.poll` away."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Verdict
from tests.stores.contract.asking import refused, take, verdict
from tests.stores.greenlets import shared
from tests.stores.session_stores import outage
from tests.stores.sql_stores import QUICK, SERVERS, opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.stores.sql_stores import Served

#: How the URL of each is made from that of its server, or of a folder. Redlock has a test of its own.
_STORES = {
    "memory": ("tmp_path", lambda _: "memory://"),
    "file": ("tmp_path", lambda path: f"file://{path}"),
    "sqlite": ("tmp_path", lambda path: f"sql+sqlite:///{path}/locks.db"),
    "sql+postgresql": ("postgres_url", lambda url: f"sql+{url}"),
    "sql+mysql": ("mariadb_url", lambda url: f"sql+{url}?ssl_disabled=true"),
    "advisory": ("postgres_url", lambda url: url.replace("postgresql:", "postgresql+advisory:")),
    "getlock": ("mariadb_url", lambda url: f"{url.replace('mysql:', 'mysql+getlock:')}?ssl_disabled=true"),
    "redis": ("redis_url", lambda url: url),
    "etcd": ("etcd_url", lambda url: url),
    "zookeeper": ("zookeeper_url", lambda url: url),
}


@pytest.fixture(params=_STORES)
def url(request: pytest.FixtureRequest) -> str:
    """A store of each kind."""
    server, made = _STORES[request.param]
    return made(request.getfixturevalue(server))


def test_greenlets_share_a_store(url: str) -> None:
    """With everything patched by gevent, greenlets exclude each other and others run while they wait."""
    fences = shared(url)
    assert len(fences) == 3 * 6
    assert fences == sorted(set(fences))


@SERVERS
def test_without_poll_there_is_select(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `select.poll` was taken away, as eventlet does, all works the same, and a wait has its bound."""
    monkeypatch.delattr(select, "poll")
    with opened(server.url + QUICK) as store:
        lease = take(store, "wallet", "anna" * 1000)
        assert verdict(store, lease) is Verdict.RENEWED
        refused(store, "wallet", "ben")
        assert store.release(lease.claim)
        server.server.pause()
        assert "timed out" in wait_until(lambda: outage(store), "the server to stand still")
