"""The Redlock store where others wait for sockets in their own way."""

from __future__ import annotations

import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Verdict
from tests.stores.contract.asking import refused, take, verdict
from tests.stores.redlock_stores import opened

if TYPE_CHECKING:
    from tests.servers.redlock import RedlockNodes

_GREENLETS = """
from gevent import monkey
monkey.patch_all()
import sys, time, gevent
from celery_locks import Locks

locks, inside, ticks, order = Locks(sys.argv[1]), [], [], []

def work(number):
    for _ in range(3):
        lock = locks.lock("wallet", ttl=30)
        assert lock.acquire(timeout=60)
        inside.append(number)
        assert inside == [number], inside
        order.append(lock.fence)
        gevent.sleep(0.001)
        inside.remove(number)
        lock.release()

def tick():
    while True:
        ticks.append(time.monotonic())
        gevent.sleep(0.001)

ticking = gevent.spawn(tick)
gevent.joinall([gevent.spawn(work, number) for number in range(10)], raise_error=True, timeout=60)
assert len(order) == 30 and order == sorted(set(order)), order
assert len(ticks) > 30, "nobody else came to run"
print("done")
"""


def test_greenlets_share_a_store(redlock_url: str) -> None:
    """With everything patched by gevent, greenlets exclude each other and others run while they wait."""
    pytest.importorskip("gevent")
    ended = subprocess.run(
        [sys.executable, "-c", _GREENLETS, redlock_url],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert ended.stdout == "done\n", ended.stderr


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
