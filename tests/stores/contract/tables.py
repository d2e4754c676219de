"""The table that a store needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.lease import Verdict
from tests.stores.contract.asking import take, verdict

if TYPE_CHECKING:
    from celery_locks.stores import Store


class TablesContract:
    """For stores that keep their locks in a table."""

    def test_the_table_may_be_made_again_and_again(self, store: Store, other: Store, key: str) -> None:
        """Whoever makes it where it is changes nothing about the locks in it."""
        store.create_table()
        lease = take(store, key)
        other.create_table()
        assert verdict(store, lease) is Verdict.RENEWED
        assert "CREATE TABLE" in store.ddl()

    def test_a_purge_takes_nothing_that_was_used_of_late(self, store: Store, other: Store, key: str) -> None:
        """Neither what is held nor what was released a moment ago, whose fence is remembered."""
        lease = take(store, key)
        assert store.release(take(store, f"{key}:released").claim)
        assert other.purge() == 0
        assert verdict(store, lease) is Verdict.RENEWED
