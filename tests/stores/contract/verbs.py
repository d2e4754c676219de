"""The three verbs, which every store has."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, ClassVar

import pytest

from celery_locks.errors import LockConfigError
from celery_locks.lease import Busy, Lease, Verdict
from tests.judging import Stay, faults
from tests.stores.contract.asking import ODD_KEYS, Opens, claim, in_threads, patient, refused, take, verdict
from tests.stores.contract.fixtures import StoreFixtures

if TYPE_CHECKING:
    from celery_locks.stores import Store


class StoreContract(StoreFixtures):
    """The three verbs. It carries the fixtures of the others, and comes first among a test's bases."""

    store_type: ClassVar[type[Store]]
    #: More than a store renews in one request.
    many: ClassVar[int] = 1200

    def test_the_factory_makes_the_store_it_names(self, store: Store) -> None:
        """The store under test is the one that the test says it is of."""
        assert type(store) is self.store_type

    def test_a_free_key_is_given_with_a_fence(self, store: Store, key: str) -> None:
        """A claim on a free key is answered with a lease that carries the claim and a fence."""
        lease = take(store, key)
        assert (lease.key, lease.owner, lease.ttl) == (key, "anna", 30.0)
        assert lease.held()
        assert isinstance(lease.fence, int)
        assert lease.fence > 0

    def test_a_taken_key_is_busy_and_names_its_holder(self, store: Store, other: Store, key: str) -> None:
        """A claim on a taken key is answered with its holder, to the same client and to another one."""
        take(store, key)
        assert refused(store, key).holder == "anna"
        assert refused(other, key).holder == "anna"

    def test_other_keys_are_independent(self, store: Store, other: Store, key: str) -> None:
        """A taken key is no obstacle to any other."""
        leases = [take(store, key), take(store, f"{key}0", "ben"), take(other, key[:-1], "cleo")]
        assert [lease.key for lease in leases] == [key, f"{key}0", key[:-1]]

    def test_a_released_key_is_free(self, store: Store, other: Store, key: str) -> None:
        """Release says True and the next claim is granted, to another client too."""
        take(store, key)
        assert store.release(claim(key))
        take(other, key, "ben")
        assert other.release(claim(key, "ben"))
        take(store, key, "cleo")

    def test_release_is_for_the_owner(self, store: Store, other: Store, key: str) -> None:
        """Another owner's release says False and changes nothing."""
        lease = take(store, key)
        assert not store.release(claim(key, "ben"))
        assert not other.release(claim(key, "ben"))
        assert refused(other, key, "ben").holder == "anna"
        assert verdict(store, lease) is Verdict.RENEWED

    def test_release_of_a_free_key_changes_nothing(self, store: Store, key: str) -> None:
        """A key that nobody has cannot be released, and is as free as before."""
        assert not store.release(claim(key))
        take(store, key, "ben")

    def test_a_repeated_release_harms_nobody(self, store: Store, other: Store, key: str) -> None:
        """A release that is sent twice does not free the key of the next holder."""
        take(store, key)
        assert store.release(claim(key))
        store.release(claim(key))
        lease = take(other, key, "ben")
        store.release(claim(key))
        assert refused(store, key, "cleo").holder == "ben"
        assert verdict(other, lease) is Verdict.RENEWED

    def test_a_repeated_acquire_is_the_same_acquire(self, store: Store, key: str) -> None:
        """The holder that asks again gets the same lease and fence, and one release gives it back."""
        first, second = take(store, key), take(store, key)
        assert second.fence == first.fence
        assert verdict(store, second) is Verdict.RENEWED
        assert store.release(claim(key))
        take(store, key, "ben")

    def test_a_refused_claim_leaves_the_holder_alone(self, store: Store, other: Store, key: str) -> None:
        """Whoever is refused can neither renew nor release what the holder has."""
        lease = take(store, key)
        for _ in range(3):
            refused(store, key)
            refused(other, key)
        ghost = Lease(claim(key, "ben"), lease.fence, lease.deadline)
        assert verdict(other, ghost) is Verdict.LOST
        assert verdict(store, lease) is Verdict.RENEWED

    def test_fences_grow_from_holder_to_holder(self, store: Store, other: Store, key: str) -> None:
        """Each holder of a key has a higher fence than the one before, whichever client it used."""
        fences = []
        for number, client in enumerate([store, other, store, store, other, other] * 5):
            fences.append(take(client, key, f"owner {number}").fence)
            assert client.release(claim(key, f"owner {number}"))
        assert fences == sorted(set(fences))

    def test_fences_grow_across_clients(self, open_store: Opens, key: str) -> None:
        """A client that came later and knows nothing gives a higher fence than one that is gone."""
        fences = []
        for owner in ("anna", "ben", "cleo"):
            with contextlib.closing(open_store()) as store:
                fences.append(take(store, key, owner).fence)
                assert store.release(claim(key, owner))
        assert fences == sorted(set(fences))

    def test_a_prefix_keeps_locks_apart(self, store: Store, open_store: Opens) -> None:
        """Stores of different prefixes never share a key, also where prefix and key together read the same."""
        with contextlib.closing(open_store(prefix=f"{store.prefix}a:")) as second:
            take(store, "b")
            take(second, "b", "ben")
            take(store, "a:c", "cleo")
            take(second, "c", "dora")
            assert second.release(claim("b", "ben"))
            assert refused(store, "b").holder == "anna"

    @pytest.mark.parametrize("odd", ODD_KEYS.values(), ids=ODD_KEYS)
    def test_any_text_is_a_key(self, store: Store, other: Store, odd: str) -> None:
        """A key may be any text of at least one character."""
        lease = take(store, odd)
        assert refused(other, odd).holder == "anna"
        assert verdict(store, lease) is Verdict.RENEWED
        assert store.release(claim(odd))
        take(other, odd, "ben")

    def test_keys_that_look_alike_are_different(self, store: Store) -> None:
        """No two texts are one key, however long or odd they are."""
        leases = [take(store, odd, name) for name, odd in ODD_KEYS.items()]
        assert store.renew(leases) == [Verdict.RENEWED] * len(leases)

    @pytest.mark.parametrize("owner", ["a@host:1#ff", "tasks.pay[4:2]@{host}#%", "Зоя: 1\n2"])
    def test_any_text_is_an_owner(self, store: Store, other: Store, key: str, owner: str) -> None:
        """An owner's name comes back as it was given."""
        take(store, key, owner)
        assert refused(other, key).holder == owner
        assert not other.release(claim(key, owner[:-1]))
        assert store.release(claim(key, owner))

    def test_an_empty_key_is_a_mistake(self, store: Store) -> None:
        """No store can keep a key without a name: the error says so, and is no outage."""
        with pytest.raises(LockConfigError, match="at least one character"):
            store.acquire(claim(""))

    def test_half_a_surrogate_in_a_key_is_a_mistake(self, store: Store) -> None:
        """What UTF-8 cannot write no two programs would write alike: every store refuses it, and says which letter."""
        with pytest.raises(LockConfigError, match=r"take '\\ud800' at 6 out of it"):
            store.acquire(claim("wallet\ud800"))

    def test_many_are_renewed_at_once_each_with_its_verdict(self, store: Store, other: Store, key: str) -> None:
        """One call renews many leases and answers for each, in order, also where some are gone."""
        leases = [take(store, f"{key}:{number}") for number in range(self.many)]
        gone = {0, 7, self.many // 2 - 1, self.many - 1}
        for number in gone:
            assert store.release(leases[number].claim)
        take(other, f"{key}:7", "ben")
        expected = [Verdict.LOST if number in gone else Verdict.RENEWED for number in range(self.many)]
        assert store.renew(leases) == expected
        assert store.renew([]) == []
        assert all(store.release(lease.claim) for number, lease in enumerate(leases) if number not in gone)

    def test_one_thread_wins(self, store: Store, key: str) -> None:
        """Of many threads that ask at once through one store exactly one gets the key, in each of many rounds."""
        for number in range(20):
            answers = self._at_once(store, f"{key}:{number}", threads=16)
            winners = [answer for answer in answers if isinstance(answer, Lease)]
            assert len(winners) == 1
            # A loser may come between the winner's lock and its name.
            holders = {answer.holder for answer in answers if isinstance(answer, Busy)}
            assert holders <= {winners[0].owner, None}

    def test_threads_take_turns(self, store: Store, key: str) -> None:
        """Threads that hand a key to each other never hold it together, and their fences tell the order."""
        stays: list[Stay] = []

        def stay(name: str) -> None:
            for turn in range(5):
                owner = f"{name}.{turn}"
                lease = patient(store, key, owner)
                begin = time.monotonic()
                time.sleep(0)
                stays.append(Stay(begin, time.monotonic(), lease.fence, owner))
                assert store.release(lease.claim)

        in_threads(8, stay)
        assert len(stays) == 40
        assert faults(stays) == []

    def _at_once(self, store: Store, key: str, threads: int) -> list[Lease | Busy]:
        answers: list[Lease | Busy] = []
        barrier = threading.Barrier(threads)

        def ask(owner: str) -> None:
            barrier.wait(30)
            answers.append(store.acquire(claim(key, owner)))

        in_threads(threads, ask)
        assert len(answers) == threads
        return answers
