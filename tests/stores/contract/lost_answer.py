"""Requests that arrive and answers that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.stores.contract.asking import claim, refused, take

if TYPE_CHECKING:
    from celery_locks.stores import Store


class LostAnswerContract:
    """For stores behind a network, where a request can arrive without its answer coming back."""

    def test_a_repeated_release_is_true_again(self, store: Store, other: Store, key: str) -> None:
        """A release whose answer was lost says True when it is sent again, also after others took the key."""
        take(store, key)
        assert store.release(claim(key))
        assert store.release(claim(key))
        take(other, key, "ben")
        assert store.release(claim(key))

    def test_an_acquire_that_arrives_after_its_release_is_refused(self, store: Store, other: Store, key: str) -> None:
        """An owner that has released gets nothing more, so that a late request leaves no orphan behind."""
        take(store, key)
        assert store.release(claim(key))
        refused(store, key, "anna")
        take(other, key, "ben")
