"""Showing and forcing what is held."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from celery_locks.lease import Verdict
from tests.stores.contract.asking import ODD_KEYS, Opens, claim, refused, take, verdict

if TYPE_CHECKING:
    from celery_locks.stores import Store


class InspectContract:
    """For stores that can show and force what they hold."""

    def test_a_free_key_shows_nothing(self, store: Store, key: str) -> None:
        """Nobody holds a key that was never taken, nor one that was given back."""
        assert store.inspect(key) is None
        take(store, key)
        assert store.release(claim(key))
        assert store.inspect(key) is None

    def test_a_taken_key_shows_its_holder(self, store: Store, other: Store, key: str) -> None:
        """Whoever looks sees key, owner, fence, and a remaining time no longer than the ttl."""
        lease = take(store, key)
        for client in (store, other):
            holding = client.inspect(key)
            assert holding[:3] == (key, "anna", lease.fence)
            assert holding.remaining is None or 0 < holding.remaining <= 30.001
            assert (holding.remaining is None) == store.in_connection

    def test_looking_takes_nothing(self, store: Store, other: Store, key: str) -> None:
        """A look neither takes a free key nor frees a taken one."""
        other.inspect(key)
        lease = take(store, key)
        other.inspect(key)
        assert verdict(store, lease) is Verdict.RENEWED
        refused(other, key)

    def test_a_list_shows_what_the_glob_matches(self, store: Store, other: Store, key: str) -> None:
        """`*`, `?` and `[ab]` match as in a shell, anything else stands for itself, capitals are not small letters."""
        for name in ("a1", "a2", "b1", "b22", "A1"):
            take(store, f"{key}:{name}", name)
        take(store, f"{key}:gone", "gone")
        assert store.release(claim(f"{key}:gone", "gone"))
        expected = {"*": "A1 a1 a2 b1 b22", "a*": "a1 a2", "?1": "A1 a1 b1", "[ab]1": "a1 b1", "b1": "b1", "none*": ""}
        for pattern, names in expected.items():
            shown = sorted(other.list(f"{key}:{pattern}"))
            assert [holding.owner for holding in shown] == names.split(), pattern
            assert [holding.key for holding in shown] == [f"{key}:{name}" for name in names.split()]

    def test_a_list_is_complete(self, store: Store, other: Store, key: str) -> None:
        """A list of more locks than fit a page shows each once, as `inspect` shows it."""
        leases = [take(store, f"{key}:{number}") for number in range(1100)]
        shown = {holding.key: holding.fence for holding in other.list(f"{key}:*")}
        assert shown == {lease.key: lease.fence for lease in leases}
        assert len(list(other.list(f"{key}:*"))) == len(leases)

    def test_a_list_is_of_one_prefix(self, store: Store, open_store: Opens, key: str) -> None:
        """A store lists what has its prefix, with keys as they were given, and nothing else."""
        take(store, key)
        for prefix in (f"{store.prefix}*:", f"{store.prefix[:-1]}?"):
            with contextlib.closing(open_store(prefix=prefix)) as second:
                take(second, key, "ben")
                assert [holding.owner for holding in store.list(key)] == ["anna"]
                assert [holding.key for holding in store.list()] == [key]
                assert [holding.owner for holding in second.list(key)] == ["ben"]
                assert [holding.owner for holding in second.list()] == ["ben"]

    def test_odd_keys_are_shown_as_they_were_given(self, store: Store, other: Store) -> None:
        """A key comes back letter by letter, whatever the store made of it."""
        for name, odd in ODD_KEYS.items():
            take(store, odd, name)
        assert {holding.owner: holding.key for holding in other.list()} == ODD_KEYS
        for name, odd in ODD_KEYS.items():
            assert other.inspect(odd).owner == name

    def test_force_frees_a_key_whoever_has_it(self, store: Store, other: Store, key: str) -> None:
        """A forced release needs no owner; the key is free and the next fence higher."""
        lease = take(store, key)
        assert other.force_release(key)
        assert store.inspect(key) is None
        assert take(other, key, "ben").fence > lease.fence

    def test_force_on_a_free_key_says_false(self, store: Store, key: str) -> None:
        """There is nothing to force when nobody has the key, twice in a row either."""
        assert not store.force_release(key)
        take(store, key)
        assert store.force_release(key)
        assert not store.force_release(key)

    def test_a_forced_out_holder_has_lost(self, store: Store, other: Store, key: str) -> None:
        """Its next renewal and its release are refused, before and after somebody else took the key."""
        lease = take(store, key)
        assert other.force_release(key)
        assert verdict(store, lease) is Verdict.LOST
        assert not store.release(lease.claim)
        new = take(other, key, "ben")
        assert verdict(store, lease) is Verdict.LOST
        assert not store.release(lease.claim)
        assert verdict(other, new) is Verdict.RENEWED

    def test_a_forced_out_holder_that_gives_back_learns_it(self, store: Store, other: Store, key: str) -> None:
        """Its release is refused also when it never asked before, and frees nothing of the next holder's."""
        first = take(store, key)
        assert other.force_release(key)
        assert not store.release(first.claim)
        second = take(store, key, "ben")
        assert other.force_release(key)
        third = take(other, key, "cleo")
        assert not store.release(second.claim)
        assert verdict(other, third) is Verdict.RENEWED

    def test_force_is_for_one_key(self, store: Store, other: Store, key: str) -> None:
        """The other keys of a holder that was forced out of one are still its own."""
        take(store, key)
        kept = take(store, f"{key}:kept")
        assert other.force_release(key)
        assert verdict(store, kept) is Verdict.RENEWED
        refused(other, kept.key)
