"""Who finds a key taken is told for how long its holder has had it, where the store can tell."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Busy
from celery_locks.stores import open_store
from celery_locks.ticket import Ticket
from tests.stores.contract.asking import claim, take
from tests.stores.redis_stores import cluster_url
from tests.stores.session_stores import without_tls
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery_locks.lease import Claim
    from celery_locks.stores import Store

#: Clocks are read to the millisecond at worst, and never at the same moment.
NEAR = 0.05


@pytest.fixture(params=["redis", "cluster", "sqlite", "postgres", "mariadb", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each whose fences are times, empty."""
    match request.param:
        case "file":
            url = f"file://{tmp_path}/locks"
        case "sqlite":
            url = f"sql+sqlite:///{tmp_path}/locks.db"
        case "cluster":
            request.getfixturevalue("redis_cluster").flush()
            url = cluster_url(request.getfixturevalue("redis_cluster"))
        case "redis":
            url = request.getfixturevalue("redis_url")
        case name:
            url = f"sql+{without_tls(request.getfixturevalue(f'{name}_url'))}"
    with contextlib.closing(open_store(url)) as store:
        yield store


def age(store: Store, asked: Claim) -> float:
    answer = store.acquire(asked)
    assert isinstance(answer, Busy)
    assert answer.holder == "anna"
    assert answer.age is not None
    return answer.age


def test_who_is_refused_hears_for_how_long_the_key_was_held(store: Store) -> None:
    """From when it was taken, and a renewal begins nothing anew. So does one that stands in line."""
    before = time.monotonic()
    lease = take(store, "wallet", "anna")
    after = time.monotonic()
    first = age(store, claim("wallet", "ben"))
    store.renew([lease])
    wait_until(lambda: age(store, claim("wallet", "ben")) > first + 4 * NEAR, "the age to grow")
    least = time.monotonic() - after - NEAR
    for asked in (claim("wallet", "ben"), claim("wallet", "cleo")._replace(ticket=Ticket("cleo"))):
        assert least <= age(store, asked) <= time.monotonic() - before + NEAR
