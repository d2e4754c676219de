"""A write of a position that the network holds, and lets through after later ones of the same leader."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from celery_locks.errors import StoreUnavailable
from tests.stores import etcd_stores, redis_stores, sql_stores
from tests.stores.places import deliver
from tests.stores.sql_stores import Served
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.stores.positions import Positions
    from tests.servers.proxy import Proxy
    from tests.stores.places import Place

SCHEDULE = "beat-leader"


class Ground(NamedTuple):
    """A server, and its database where it has some."""

    place: Place
    served: Served | None = None

    def deliver(self, way: Proxy) -> None:
        """Let through what was held, until the server has read it."""
        if self.served is None:
            deliver(way, self.place.opened)
            return
        served, before = self.served, self.served.sessions
        way.let_go("requests")
        wait_until(lambda: served.sessions < before, "the database to read it and the end of its connection")


@pytest.fixture(params=["redis", "postgres", "mariadb", "etcd"])
def ground(request: pytest.FixtureRequest) -> Ground:
    """Each kind that keeps positions."""
    url = request.getfixturevalue(f"{request.param}_url")
    if request.param == "redis":
        return Ground(redis_stores.place_of(url))
    if request.param == "etcd":
        return Ground(etcd_stores.place_of(url, etcd_stores.BRIEF))
    served = Served(request.getfixturevalue(f"{request.param}_server"), url)
    return Ground(sql_stores.place_of(served), served)


@pytest.fixture
def place(ground: Ground) -> Place:
    return ground.place


@pytest.mark.parametrize("text", ["held", None], ids=["written", "removed"])
def test_a_write_that_the_network_held_sets_nothing_back(
    ground: Ground, store: Positions, other: Positions, way: Proxy, text: str | None
) -> None:
    """Under the fence that it still has, the leader has written again by another connection."""
    assert store.take_up(SCHEDULE, 7) == {}
    assert store.put(SCHEDULE, 7, 1, {"report": "first"})
    way.hold("requests")
    with pytest.raises(StoreUnavailable):
        store.put(SCHEDULE, 7, 2, {"report": text})
    assert other.put(SCHEDULE, 7, 3, {"report": "later"})
    assert way.waiting("requests")
    ground.deliver(way)
    assert other.take_up(SCHEDULE, 7) == {"report": "later"}
