"""Connections to Redis: stale, shared by threads, inherited."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Lease, Verdict
from celery_locks.stores.redis.wire import Pooled
from tests.stores.contract.asking import claim, goes_on_alone, refused, take, verdict
from tests.stores.processes import Crew
from tests.stores.redis_stores import QUICK, opened, place_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.stores.redis import RedisStore
    from tests.servers.proxy import Proxy
    from tests.servers.redis import RedisServer
    from tests.stores.places import Place


@pytest.fixture
def place(redis_url: str) -> Place:
    return place_of(redis_url)


def test_threads_live_through_resets(way: Proxy) -> None:
    """While all connections are reset again and again, every answer that a thread hears is its own and right."""
    over, errors = threading.Event(), []
    with opened(way.url) as store:

        def work(name: str) -> None:
            for turn in itertools.count():
                if over.is_set():
                    return
                try:
                    _one_turn(store, f"key of {name}.{turn}", f"{name}.{turn}")
                except StoreUnavailable:
                    continue
                except BaseException as error:  # noqa: BLE001 - whatever it is, the test is to see it
                    errors.append(error)
                    return

        threads = [threading.Thread(target=work, args=(f"thread {number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(60):
            time.sleep(0.01)
            way.cut()
        over.set()
        for thread in threads:
            thread.join(30)
    assert errors == []


def test_a_connection_that_is_spoken_on_is_not_ended_by_another_thread(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one thread ends what was idle, what another takes up is left alone."""
    with opened(redis_url) as store:
        wire = store._wire
        assert isinstance(wire, Pooled)
        idle = [wire._connected(), wire._connected(), wire._connected()]
        wire._idle.extend(idle)
        ended, taken = [], []

        def disconnect(connection: object) -> None:
            ended.append(connection)
            taken.append(wire._connected())

        monkeypatch.setattr(wire._pool.connection_class, "disconnect", disconnect)
        wire.hang_up()
        monkeypatch.undo()
    assert (ended, taken[0]) == (idle[:2], idle[2])
    assert not set(map(id, ended)) & set(map(id, taken))


def test_a_connection_that_was_cut_off_is_none_that_max_connections_counts(store: RedisStore, way: Proxy) -> None:
    """A bound that the user sets is one on living connections: after any number of breaks there is one to be had."""
    with opened(f"{way.url}{QUICK}&max_connections=1") as bounded:
        for number in range(5):
            assert take(bounded, f"key {number}")
            way.cut()
        wire = bounded._wire
        assert isinstance(wire, Pooled)
        spoken_on = wire._connected()
        with pytest.raises(StoreUnavailable, match="raise max_connections"):
            bounded.inspect("wallet")
        wire._idle.append(spoken_on)
        assert bounded.inspect("wallet") is None
    take(store, "wallet")


def _one_turn(store: RedisStore, key: str, owner: str) -> None:
    answer = store.acquire(claim(key, owner))
    if isinstance(answer, Lease):
        assert answer.owner == owner
        assert refused(store, key, "nobody").holder == owner
        assert verdict(store, answer) is Verdict.RENEWED
        assert store.release(answer.claim)
    else:
        # What it asked first was cut off, and is not given back yet.
        assert answer.holder in (None, owner)


def test_a_server_may_be_restarted_between_two_verbs(redis_server: RedisServer, redis_url: str) -> None:
    """After a restart that lost the lock each verb works at once and tells the truth: the lease is lost."""
    with opened(redis_url) as store:
        lease = take(store, "wallet")
        redis_server.restart()
        assert verdict(store, lease) is Verdict.LOST
        redis_server.restart()
        assert not store.release(lease.claim)
        redis_server.restart()
        take(store, "wallet", "ben")


def test_a_closed_store_has_no_connection_and_opens_again(
    store: RedisStore, way: Proxy, redis_server: RedisServer
) -> None:
    """Closing gives the connections back, keeps the leases, and the next verb connects anew."""
    lease = take(store, "wallet")
    clients = len(redis_server.ask("CLIENT", "LIST").splitlines())
    store.close()
    wait_until(
        lambda: len(redis_server.ask("CLIENT", "LIST").splitlines()) < clients, "the server to see the connection end"
    )
    assert verdict(store, lease) is Verdict.RENEWED
    assert way.connections


def test_threads_are_not_limited_by_a_pool(redis_server: RedisServer, redis_url: str) -> None:
    """150 threads that ask at once all get an answer, also where redis-py would allow 100 connections."""
    answers: list[Lease | Busy] = []
    together = threading.Barrier(150)
    with opened(redis_url) as store:

        def ask(owner: str) -> None:
            together.wait(30)
            answers.append(store.acquire(claim("wallet", owner)))

        redis_server.pause()
        threads = [threading.Thread(target=ask, args=(f"owner {number}",)) for number in range(150)]
        for thread in threads:
            thread.start()
        wait_until(lambda: together.broken or together.n_waiting == 0, "all to ask")
        redis_server.resume()
        for thread in threads:
            thread.join()
    assert len(answers) == 150
    assert sum(isinstance(answer, Lease) for answer in answers) == 1


def test_children_never_share_a_connection(other: RedisStore) -> None:
    """A store that has spoken is used by children and parent at once: each hears its own answers."""
    take(other, "parent")
    with Crew() as crew:
        for number in range(6):
            crew.start(goes_on_alone, other, number, 30)
        goes_on_alone(other, 99, 30)
        crew.done()
    assert refused(other, "parent", "ben").holder == "anna"


def test_a_child_that_ends_leaves_the_parents_connection(other: RedisStore) -> None:
    """A child that closes the store it inherited takes nothing from its parent."""
    lease = take(other, "wallet")
    with Crew() as crew:
        crew.start(other.close)
        crew.done()
    assert verdict(other, lease) is Verdict.RENEWED


def test_what_a_parent_speaks_on_is_none_that_counts_in_its_child(redis_url: str) -> None:
    """A worker's main process beats when it forks: with max_connections=1 the child has one all the same."""
    with opened(f"{redis_url}{'&' if '?' in redis_url else '?'}max_connections=1") as store:
        wire = store._wire
        assert isinstance(wire, Pooled)
        spoken_on = wire._connected()
        with Crew() as crew:
            crew.start(take, store, "wallet")
            crew.done()
        wire._idle.append(spoken_on)
