"""How far a schedule has come, written under the fence of whoever leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.stores.contract.asking import take

if TYPE_CHECKING:
    from celery_locks.stores import Store


class PositionsContract:
    """For stores that keep positions."""

    def test_what_was_written_is_taken_up(self, store: Store, other: Store, key: str) -> None:
        """Whoever leads next has all texts as they were written, whatever names and texts are, and none of others."""
        texts = {"report": '{"last": "ü"}', "fence": "é", "=odd": "{x}:%", "a\\b": "\\", "number": "/"}
        assert store.take_up(key, 7) == {}
        assert store.put(key, 7, 1, texts)
        assert store.put(key, 7, 2, {"report": "two", "fence": None})
        assert other.take_up(key, 8) == {"report": "two", "=odd": "{x}:%", "a\\b": "\\", "number": "/"}
        assert other.take_up(f"{key}:another", 8) == {}

    def test_who_led_before_writes_nothing(self, store: Store, other: Store, key: str) -> None:
        """Once a higher fence has taken them up a lower one neither writes nor takes up, not even a new name."""
        assert store.take_up(key, 7) == {}
        assert store.put(key, 7, 1, {"report": "one"})
        assert other.take_up(key, 8) == {"report": "one"}
        assert not store.put(key, 7, 2, {"report": "two"})
        assert not store.put(key, 7, 3, {"new": "x"})
        assert not store.put(key, 7, 4, {"report": None})
        assert store.take_up(key, 7) is None
        assert other.take_up(key, 8) == {"report": "one"}

    def test_a_write_that_comes_late_writes_nothing(self, store: Store, other: Store, key: str) -> None:
        """A lower number of the same fence neither changes what is written nor removes it."""
        assert store.take_up(key, 7) == {}
        assert store.put(key, 7, 9, {"report": "one"})
        assert store.put(key, 7, 10, {"report": "two"})
        for text in ("one", None):
            assert not store.put(key, 7, 9, {"report": text})
        assert store.take_up(key, 7) == {"report": "two"}
        assert not store.put(key, 7, 9, {"report": "one"}), "to take them up again lets no late write in"
        assert other.take_up(key, 8) == {"report": "two"}
        assert other.put(key, 8, 1, {"report": "three"}), "each fence has numbers of its own"
        assert other.take_up(key, 9) == {"report": "three"}

    def test_a_verb_may_be_repeated(self, store: Store, key: str) -> None:
        """As often as its answer is lost."""
        for _ in range(2):
            assert store.take_up(key, 7) == {}
        for _ in range(2):
            assert store.put(key, 7, 1, {"report": "one", "gone": None})
        assert store.take_up(key, 7) == {"report": "one"}
        assert store.put(key, 7, 2, {})

    def test_as_many_as_a_schedule_may_have(self, store: Store, other: Store, key: str) -> None:
        """Hundreds are written in one call, and taken up."""
        texts = {f"entry {number}": f"{number}" for number in range(250)}
        assert store.take_up(key, 7) == {}
        assert store.put(key, 7, 1, texts)
        assert other.take_up(key, 8) == texts

    def test_a_store_that_forgot_takes_what_it_is_told(self, store: Store, key: str) -> None:
        """Nobody has taken up what is not there: the leader goes on."""
        assert store.put(key, 7, 5, {"report": "one"})
        assert store.take_up(key, 9) == {"report": "one"}

    def test_positions_are_no_lock(self, store: Store, other: Store, key: str) -> None:
        """The key of the schedule's name is free, not listed for it, and taken and given back beside it."""
        assert store.put(key, 7, 1, {"report": "one"})
        assert store.inspect(key) is None
        assert key not in [each.key for each in store.list()]
        assert store.release(take(other, key).claim)
        assert other.take_up(key, 7) == {"report": "one"}

    def test_a_real_fence_is_a_number_that_fits(self, store: Store, other: Store, key: str) -> None:
        """Fences of neighbours, as leases have them, are told apart."""
        fence = take(store, key).fence
        assert store.take_up(key, fence) == {}
        assert other.take_up(key, fence + 1) == {}
        assert not store.put(key, fence, 1, {"report": "late"})
