"""A soft time limit or Ctrl-C in the middle of a request to ZooKeeper."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from celery_locks import Locks
from celery_locks.lease import Lease
from celery_locks.stores.zookeeper.answer import Answer
from tests.stores.contract.asking import claim, refused, take
from tests.stores.zookeeper_stores import is_free, lasting, opened
from tests.unit.test_interrupted import Interrupt, Interrupter
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.proxy import Proxy

OURS = ("celery_locks", "threading.py", "kazoo")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 looks for signals in more places")
@pytest.mark.parametrize(("asks", "stride"), [({}, 1), ({"slots": 2}, 5)], ids=["alone", "slots"])
def test_an_interrupt_at_any_step_leaves_nothing(
    zookeeper_url: str, caplog: pytest.LogCaptureFixture, asks: dict[str, int], stride: int
) -> None:
    """Wherever it strikes, in our code or in kazoo's, the key is given back, and the session serves on."""
    with opened(lasting(zookeeper_url)) as store, opened(zookeeper_url) as other:
        locks = Locks(store)
        session = take(store, "kept")
        for step in range(1, 10_000, stride):
            interrupter = Interrupter(OURS)
            interrupter.run(step, lambda: locks.run("wallet", lambda: None, **asks))
            if interrupter.where is None:
                break
            wait_until(lambda: is_free(other, "wallet"), f"the key after {interrupter.where}")
            take(store, "wallet", f"next {step}")
            assert store.release(claim("wallet", f"next {step}")), interrupter.where
            assert not store._session.known._leaving, interrupter.where
        else:
            pytest.fail("the work never came through")
        assert step > 50
        assert session.held()
    # A release that is interrupted and repeated has not lost what it gave back.
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 looks for signals in more places")
def test_an_interrupt_at_the_first_use_leaves_nothing(zookeeper_url: str) -> None:
    """Where it strikes while the session is being opened the next use opens one, and nothing of the first stays."""
    with opened(zookeeper_url) as other:
        take(other, "kept")
        before = _kazoo_threads()
        for step in range(1, 10_000, 3):
            with opened(zookeeper_url) as store:
                interrupter = Interrupter(OURS)
                interrupter.run(step, lambda: store.acquire(claim("wallet")))
                if interrupter.where is None:
                    break
                assert isinstance(store.acquire(claim("other", f"next {step}")), Lease), interrupter.where
        wait_until(lambda: is_free(other, "wallet"), "the key")
        wait_until(lambda: _kazoo_threads() == before, "kazoo's threads to end but those of one session")


def _kazoo_threads() -> int:
    return sum("_thread_worker" in each.name or "zk_loop" in each.name for each in threading.enumerate())


def test_an_interrupted_acquire_is_undone_when_its_answer_comes_late(
    zookeeper_url: str, proxy: Callable[[str], Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Struck while the answer is awaited: what arrives later finds its undoing right behind it."""
    way = proxy(zookeeper_url)
    with opened(way.url) as store, opened(zookeeper_url) as other:
        take(store, "first")
        way.hold("requests")

        def struck(*_: object, **__: object) -> None:
            monkeypatch.undo()
            raise Interrupt

        monkeypatch.setattr(Answer, "get", struck)
        with pytest.raises(Interrupt):
            store.acquire(claim("wallet"))
        assert is_free(other, "wallet")
        way.let_go()
        assert take(store, "wallet", "ben").owner == "ben"
        assert refused(store, "wallet", "anna").holder == "ben"
        assert store.release(claim("wallet", "anna"))
        assert refused(other, "wallet", "cleo").holder == "ben"


def test_an_answer_comes_to_whoever_waits_whenever_it_comes() -> None:
    """Given before, while or after somebody waits for it, also twice; and each callback is called once."""
    heard: list[Answer] = []
    for _ in range(200):
        answer = Answer()
        answer.rawlink(heard.append)
        giver = threading.Thread(target=answer.set, args=("word",))
        giver.start()
        answer.rawlink(heard.append)
        assert answer.get(timeout=30) == "word"
        giver.join()
        answer.set_exception(OSError("broken"))
        with pytest.raises(OSError, match="broken"):
            answer.get()
    assert len(heard) == 400
