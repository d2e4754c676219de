"""The Redlock store where others wait for sockets in their own way."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from celery_locks.lease import Verdict
from tests.stores.contract.asking import refused, take, verdict
from tests.stores.greenlets import shared
from tests.stores.redlock_stores import opened

if TYPE_CHECKING:
    import pytest

    from tests.servers.redlock import RedlockNodes


def test_greenlets_share_a_store(redlock_url: str) -> None:
    """With everything patched by gevent, greenlets exclude each other and others run while they wait."""
    fences = shared(redlock_url, 10)
    assert len(fences) == 3 * 10
    assert fences == sorted(set(fences))


def test_without_poll_there_is_select(redlock_nodes: RedlockNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `select.poll` was taken away, all works the same, also with a node down and one hung."""
    redlock_nodes.flush()
    monkeypatch.delattr(select, "poll")
    redlock_nodes.nodes[0].kill()
    redlock_nodes.nodes[1].pause()
    with opened(redlock_nodes.nodes, "?socket_timeout=60") as store:
        lease = take(store, "wallet")
        assert refused(store, "wallet", "ben").holder == "anna"
        assert verdict(store, lease) is Verdict.RENEWED
        assert store.release(lease.claim)
