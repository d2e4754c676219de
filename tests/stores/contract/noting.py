"""Notes that are kept for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.stores.contract.asking import take
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.stores import Store


class NotesContract:
    """For stores that keep notes."""

    def test_what_one_notes_another_sees(self, store: Store, other: Store, key: str) -> None:
        """A note is seen by all clients at once, and noted again it is still there."""
        assert not other.is_noted(key)
        for _ in range(2):
            store.note(key, 30)
            assert other.is_noted(key)
        assert not other.is_noted(f"{key}:another")

    def test_a_note_is_no_lock(self, store: Store, other: Store, key: str) -> None:
        """The key of its name is free, given back without it, and not listed for it."""
        store.note(key, 30)
        assert store.inspect(key) is None
        assert key not in [each.key for each in store.list()]
        assert store.release(take(other, key).claim) or other.inspect(key) is None
        assert other.is_noted(key)

    def test_a_note_ends(self, store: Store, other: Store, key: str) -> None:
        """After its time, or not long after."""
        store.note(key, 0.3)
        wait_until(lambda: not other.is_noted(key), "the end of a note", 60)
        assert not store.is_noted(key)

    def test_a_note_may_have_any_name(self, store: Store, other: Store, key: str) -> None:
        """That of a job's owner has brackets, colons and a hash; an id may be any text."""
        name = f"ended:{key}[%7B{{a}}]@host:1#0f"
        store.note(name, 30)
        assert other.is_noted(name)
