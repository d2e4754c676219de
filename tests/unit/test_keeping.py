"""How a worker's boot step comes to keep the leases of its pool, or why it does not."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import billiard
import pytest
from celery import Celery, signals
from celery.concurrency.prefork import TaskPool

from celery_locks import parent
from celery_locks.worker import keeping
from celery_locks.worker.keeping import Keeping


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """As far as the step looks at it."""
    monkeypatch.setattr(signals.worker_process_init, "receivers", [])
    app = Celery("bank", set_as_current=False)
    return SimpleNamespace(
        pool=TaskPool(2, app=app), hostname="celery@here", min_concurrency=2, max_concurrency=2, app=app
    )


@pytest.fixture(autouse=True)
def _no_parent():
    yield
    parent.adopt(None)


def born(index: int = 0, sender: str | None = None, initargs: tuple[object, ...] = (None, "celery@here")) -> None:
    """Do what a process of a pool does first."""
    process = SimpleNamespace(index=index, _target=SimpleNamespace(initargs=initargs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeping, "current_process", lambda: process)
        signals.worker_process_init.send(sender=sender)


def test_a_process_of_the_pool_is_adopted(worker: SimpleNamespace, caplog):
    """It shows its leases from then on."""
    Keeping(worker).create(worker)
    born()
    assert parent.mine is not None
    assert caplog.messages == []


@pytest.mark.parametrize("why", ["setting", "system"])
def test_spawned_processes_keep_their_leases_themselves(worker: SimpleNamespace, monkeypatch, caplog, why: str):
    """They have no memory in common with their parent, as on macOS: the worker says so once, at its start."""
    if why == "setting":
        worker.pool.forking_enable = False
    else:
        monkeypatch.setattr(billiard, "get_start_method", lambda: "spawn")
    Keeping(worker).create(worker)
    assert len(caplog.messages) == 1
    assert "spawned, not forked" in caplog.text
    born()
    assert parent.mine is None


def test_a_process_of_another_worker(worker: SimpleNamespace):
    """Of several workers in one process each has the leases of its own pool, also where Celery does not say which."""
    Keeping(worker).create(worker)
    born(sender="celery@there", initargs=())
    assert parent.mine is None
    born(initargs=(None, "celery@there"))
    assert parent.mine is None
    born(sender="celery@here")
    assert parent.mine is not None


GREENLETS = """
import gevent.monkey
gevent.monkey.patch_all()
import signal, threading
from celery_locks import Locks
with Locks("memory://").lock("wallet:42", ttl=0.3, heartbeat=True) as lease:
    gevent.sleep(0.5)
    assert lease.held()
print(len(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
"""


def test_a_thread_that_is_a_greenlet_leaves_the_main_thread_its_signals():
    """With gevent our threads are greenlets of the main thread, which goes on to take signals."""
    pytest.importorskip("gevent")
    run = subprocess.run([sys.executable, "-c", GREENLETS], capture_output=True, text=True, timeout=60, check=False)
    assert (run.stdout, run.stderr) == ("0\n", "")
