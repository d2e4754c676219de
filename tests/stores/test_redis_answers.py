"""What becomes of a lock when a request is late or its answer is cut off or lost."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Lease, Verdict
from tests.stores.contract import CutAnswerContract, InterruptContract, LateAnswerContract
from tests.stores.contract.asking import claim, verdict
from tests.stores.places import deliver
from tests.stores.redis_stores import give_up, opened, place_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.redis import RedisStore
    from tests.servers.proxy import Proxy
    from tests.stores.places import Place


@pytest.fixture
def place(redis_url: str) -> Place:
    return place_of(redis_url)


class TestRedisAnswers(CutAnswerContract, LateAnswerContract, InterruptContract):
    """A client says its farewell and does not wait for the answer."""

    acquiring = releasing = renewing = b"EVAL"
    gives_back_within = 5
    give_up = staticmethod(give_up)

    @pytest.fixture
    def delivered(self, way: Proxy) -> Callable[[], None]:
        return functools.partial(deliver, way, opened)


def test_an_acquire_that_ends_in_a_broken_network_ends_with_its_ttl(
    store: RedisStore, way: Proxy, other: RedisStore
) -> None:
    """When giving it back fails as well, the key is free after one ttl."""
    for _ in range(4):
        way.cut_answer(b"EVAL")
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet", ttl=0.3))
    wait_until(lambda: other.inspect("wallet") is None, "the end of the ttl")


@pytest.mark.parametrize("fault", ["cut_answer", "lose_answer"])
def test_one_of_several_with_one_name_gives_up_for_itself_alone(
    store: RedisStore, way: Proxy, other: RedisStore, fault: str
) -> None:
    """It never hears that it has the key: the others have it, and whoever of them comes later."""
    ours = claim("wallet", "a workflow")._replace(in_common=True)
    lease = other.acquire(ours)
    assert isinstance(lease, Lease)
    for _ in range(2):
        getattr(way, fault)(b"EVAL")
    with contextlib.suppress(StoreUnavailable):
        store.acquire(ours)
    assert verdict(other, lease) is Verdict.RENEWED
    again = other.acquire(ours)
    assert isinstance(again, Lease)
    assert again.fence == lease.fence
