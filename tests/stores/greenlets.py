"""Greenlets that share a store, in a process where gevent has patched everything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_SHARING = """
from gevent import monkey
monkey.patch_all()
import sys, time, gevent
from celery_locks import Locks

locks, inside, ticks, order = Locks(sys.argv[1]), [], [], []
crowd = int(sys.argv[2])

def work(number):
    for _ in range(3):
        lock = locks.lock("wallet", ttl=30, heartbeat=True)
        assert lock.acquire(timeout=60)
        inside.append(number)
        assert inside == [number], inside
        order.append(lock.fence)
        gevent.sleep(0.002)
        inside.remove(number)
        lock.release()

def tick():
    while True:
        ticks.append(time.monotonic())
        gevent.sleep(0.001)

ticking = gevent.spawn(tick)
gevent.joinall([gevent.spawn(work, number) for number in range(crowd)], raise_error=True, timeout=90)
assert len(ticks) > 3 * crowd, "nobody else came to run"
locks.close()
print(*order)
"""


def shared(url: str, crowd: int = 6) -> list[int]:
    """The fences of a crowd that takes a key in turns, three each, each alone, while another greenlet goes on."""
    pytest.importorskip("gevent")
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SHARING, url, str(crowd)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert ended.returncode == 0, ended.stderr
    return [int(fence) for fence in ended.stdout.split()]
