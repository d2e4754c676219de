"""A soft time limit or Ctrl-C between any two steps of a request: it may cost a connection, never a wrong answer."""

from __future__ import annotations

import contextlib
import gc
import itertools
import random
import sys
from typing import TYPE_CHECKING, Any

import pytest

from celery_locks.lease import Lease
from celery_locks.stores.redis.wire import Pooled
from tests.stores.contract.asking import claim, take
from tests.stores.redis_stores import NEWEST, cluster_url, opened
from tests.stores.time_limits import SoftTimeLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from celery_locks.stores.redis import RedisStore
    from tests.servers.redis_groups import RedisCluster

#: Whoever speaks on a connection: ours, and redis-py's where it sends and reads.
SPEAKERS = (
    "stores/redis/wire.py",
    "stores/redis/cluster.py",
    "stores/redis/slots.py",
    "redis/connection.py",
    "redis/_parsers/base.py",
    "redis/_parsers/resp2.py",
)
#: With the oldest redis-py every fifth step suffices, from another one in each test.
STRIDE = 1 if NEWEST else 5
#: Who has what. It is held for longer than the test can take.
HELD, TTL = {"wallet": "anna", "report": "ben"}, 600


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What was struck in the middle of its end is collected here, and not in the middle of another test."""
    yield
    gc.collect()


@pytest.fixture
def one(redis_url: str) -> Iterator[RedisStore]:
    with opened(redis_url) as store:
        yield store


@pytest.fixture
def many(redis_cluster: RedisCluster) -> Iterator[RedisStore]:
    redis_cluster.flush()
    with opened(cluster_url(redis_cluster)) as store:
        yield store


def _inspect(store: RedisStore) -> None:
    store.inspect("anna's")


def _renew(store: RedisStore) -> None:
    store.renew([Lease(claim(key, owner, TTL), 1, None) for key, owner in HELD.items()])


def _list(store: RedisStore) -> None:
    list(store.list())


def _close(store: RedisStore) -> None:
    store.close()


# A strike within a destructor is seen by nobody, and one within a disconnect leaves the socket to a destructor.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize(
    ("form", "verb"),
    [("one", _inspect), ("one", _renew), ("one", _list), ("one", _close), ("many", _inspect), ("many", _renew)],
)
def test_a_strike_between_any_two_steps_mixes_no_answers(
    request: pytest.FixtureRequest, form: str, verb: Callable[[RedisStore], None]
) -> None:
    """Wherever a request is struck, those after it hear their own answers."""
    store: RedisStore = request.getfixturevalue(form)
    _hold(store)
    for step in itertools.count(random.randint(1, STRIDE), STRIDE):
        struck = _struck(lambda: verb(store), step)
        _still_hears_right(store, struck)
        if not struck:
            break
    assert step > 50


@pytest.mark.parametrize("verb", [_inspect, _renew])
def test_a_second_strike_before_a_connection_was_ended_mixes_no_answers(
    one: RedisStore, verb: Callable[[RedisStore], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A soft time limit and then Ctrl-C: what was not ended in time is not used again either."""
    _hold(one)
    wire = one._wire
    assert isinstance(wire, Pooled)
    connection = wire._pool.connection_class
    for step in itertools.count(random.randint(1, STRIDE), STRIDE):
        monkeypatch.setattr(connection, "disconnect", _strike_again(monkeypatch))
        struck = _struck(lambda: verb(one), step)
        monkeypatch.undo()
        _still_hears_right(one, struck)
        if not struck:
            break


def _strike_again(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def strike(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise SoftTimeLimit

    return strike


def _hold(store: RedisStore) -> None:
    for key, owner in HELD.items():
        take(store, key, owner, TTL)


def _still_hears_right(store: RedisStore, struck: str) -> None:
    for key, owner in (*HELD.items(), *HELD.items()):
        holding = store.inspect(key)
        assert holding is not None, struck
        assert (holding.key, holding.owner) == (key, owner), struck


def _struck(do: Callable[[], None], step: int) -> str:
    """Raise before the step of this number, as a signal handler may; says where that was, or nothing."""
    steps, struck = itertools.count(1), ""

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal struck
        if not frame.f_code.co_filename.endswith(SPEAKERS):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and next(steps) == step:
            struck = f"struck in line {frame.f_lineno} of {frame.f_code.co_filename}"
            raise SoftTimeLimit
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        # redis-py 5 makes the other error of a strike in its constructor.
        with contextlib.suppress(SoftTimeLimit, UnboundLocalError):
            do()
    finally:
        sys.settrace(before)
    return struck
