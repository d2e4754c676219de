"""What becomes of a lock in a table when a request is late or its answer is cut off, lost or interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from tests.stores.contract import CutAnswerContract, InterruptContract, LateAnswerContract
from tests.stores.contract.asking import claim, hears_its_own, take
from tests.stores.sql_stores import SERVERS, give_up, place_of
from tests.stores.time_limits import struck_awaiting
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.sql import SqlStore
    from tests.servers.proxy import Proxy
    from tests.stores.places import Place
    from tests.stores.sql_stores import Served

pytestmark = SERVERS


@pytest.fixture
def place(server: Served) -> Place:
    return place_of(server)


class TestSqlAnswers(CutAnswerContract, LateAnswerContract, InterruptContract):
    """A client that gives up has heard before it says so that nothing is left."""

    acquiring, releasing, renewing = b"INSERT INTO", b"UPDATE", b"UPDATE"
    give_up = staticmethod(give_up)

    @pytest.fixture
    def delivered(self, server: Served, way: Proxy) -> Callable[[], None]:
        def deliver() -> None:
            before = server.sessions
            way.let_go("requests")
            wait_until(lambda: server.sessions < before, "the database to read it and the end of its connection")

        return deliver

    @pytest.mark.parametrize("used", [False, True], ids=["new key", "used key"])
    def test_an_acquire_that_arrives_after_its_client_gave_up_leaves_no_lock(
        self, store: SqlStore, way: Proxy, other: SqlStore, delivered: Callable[[], None], *, used: bool
    ) -> None:
        """A request that the network held and let go later carries the time at which its client gave up."""
        if used:
            take(other, "wallet", "before")
            other.release(claim("wallet", "before"))
        way.hold("requests")
        with pytest.raises(StoreUnavailable):
            store.acquire(claim("wallet", "anna"))
        assert other.inspect("first") is not None
        assert self.acquiring in way.waiting("requests")
        delivered()
        assert other.inspect("wallet") is None
        take(other, "wallet", "ben")


def test_a_database_whose_clock_was_set_forward_is_asked_again(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock, read anew, explains why the request seemed late: that costs two round trips and no outage."""
    reading = store._reading
    assert reading is not None
    monkeypatch.setattr(store, "_reading", reading._replace(theirs=reading.theirs - 3_600_000_000))
    take(store, "wallet")


def test_an_interrupt_between_request_and_answer_is_no_mix_up(store: SqlStore, way: Proxy) -> None:
    """Struck while an answer is unheard, a connection is never used again."""
    take(store, "wallet", "anna")
    with struck_awaiting(way):
        store.inspect("wallet")
    hears_its_own(store, rounds=10)
