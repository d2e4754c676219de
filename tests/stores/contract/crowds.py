"""Keys that several hold: those with a slot, and those that read."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from celery_locks import Locks
from celery_locks.lease import Verdict
from tests.stores.contract.asking import ODD_KEYS, Opens, take, verdict
from tests.stores.contract.crowding import Crowd, alone, enter, owners, part, reader, turned_away
from tests.stores.contract.slots import SlotsContract
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Claim


class CrowdsContract(SlotsContract):
    """For stores whose keys several may hold: a set of owners, each with a fence of its own."""

    def test_as_many_as_there_are_slots(self, crowd: Crowd, other: Crowd, key: str) -> None:
        """Two more than one may hold a key with three slots; the next gets in when one has left."""
        leases = [enter(client, part(key, name)) for client, name in ((crowd, "a"), (other, "b"), (crowd, "c"))]
        busy = turned_away(other, part(key, "d"))
        assert busy.holder in ("a", "b", "c")
        assert busy.remaining is None or 0 < busy.remaining <= 30.01
        assert owners(other, key) == ["a", "b", "c"]
        assert other.release(leases[1].claim)
        enter(other, part(key, "d"))
        assert owners(crowd, key) == ["a", "c", "d"]
        turned_away(crowd, part(key, "e"))

    def test_any_number_reads(self, crowd: Crowd, other: Crowd, twin: Crowd, key: str) -> None:
        """All who share a key hold it together, and one that wants it alone gets it when the last has left."""
        leases = [enter(client, reader(key, f"reader {n}")) for n in range(10) for client in (crowd, twin)[n % 2 :][:1]]
        assert len(owners(crowd, key)) == 10
        for lease in leases:
            turned_away(other, alone(key, "writer"))
            assert crowd.release(lease.claim)
        enter(other, alone(key, "writer"))

    @pytest.mark.parametrize("first", [part, reader, alone], ids=["slots", "reader", "alone"])
    @pytest.mark.parametrize("second", [part, reader, alone], ids=["slots", "reader", "alone"])
    def test_who_holds_it_together(
        self, crowd: Crowd, other: Crowd, key: str, first: Callable[..., Claim], second: Callable[..., Claim]
    ) -> None:
        """Only such as ask for the same: one alone excludes all others, and slots and readers each other."""
        lease = enter(crowd, first(key, "first"))
        if first is second and first is not alone:
            enter(other, second(key, "second"))
        else:
            assert turned_away(other, second(key, "second")).holder == "first"
            assert crowd.release(lease.claim)
            assert enter(other, second(key, "second")).fence > lease.fence

    def test_each_has_a_fence_of_its_own(self, crowd: Crowd, twin: Crowd, key: str) -> None:
        """It is higher than that of anybody who came before, whatever they asked for, and stays."""
        fences = []
        for turn, ask in enumerate((alone, part, reader, part, alone, reader)):
            leases = [enter(crowd, ask(key, f"a{turn}"))]
            if ask is not alone:
                leases.append(enter(twin, ask(key, f"b{turn}")))
            fences += [lease.fence for lease in leases]
            assert [holding.fence for holding in crowd.holders(key)] == fences[-len(leases) :]
            for lease in leases:
                assert twin.release(lease.claim)
        assert fences == sorted(set(fences))

    def test_a_repeated_release_frees_nobody_elses_place(
        self, crowd: Crowd, other: Crowd, twin: Crowd, key: str
    ) -> None:
        """The places do not drift, however often one is given back, by whom, and by one that never had any."""
        first, second = (enter(crowd, part(key, name, 2)) for name in "ab")
        assert crowd.release(first.claim)
        for _ in range(3):
            twin.release(first.claim)
            assert not other.release(part(key, "stranger", 2))
        enter(other, part(key, "c", 2))
        turned_away(crowd, part(key, "d", 2))
        assert owners(crowd, key) == ["b", "c"]
        assert verdict(twin, second) is Verdict.RENEWED

    def test_a_lost_lease_touches_no_other(self, crowd: Crowd, twin: Crowd, key: str) -> None:
        """Renewed together, each is judged by itself."""
        leases = [enter(crowd, part(key, name)) for name in "abc"]
        assert twin.release(leases[1].claim)
        single = take(crowd, f"{key}:single")
        verdicts = crowd.renew([*leases, single])
        assert verdicts == [Verdict.RENEWED, Verdict.LOST, Verdict.RENEWED, Verdict.RENEWED]

    def test_any_text_is_a_key_or_an_owner_of_several(self, crowd: Crowd, open_store: Opens) -> None:
        """Letter by letter, and one prefix apart from another."""
        second: Crowd = open_store(prefix=f"{crowd.prefix}a:")  # type: ignore[assignment]  # see above
        for odd in ODD_KEYS.values():
            leases = [enter(crowd, part(odd, owner, 2)) for owner in (odd, f"until:{odd}")]
            turned_away(crowd, part(odd, "more", 2))
            assert owners(crowd, odd) == [odd, f"until:{odd}"]
            assert second.holders(odd) == []
            second.set_slots(odd, 7)
            assert crowd.slots(odd) is None
            assert crowd.renew(leases) == [Verdict.RENEWED] * 2
            assert [crowd.release(lease.claim) for lease in leases] == [True, True]
            second.set_slots(odd, None)
        second.close()

    def test_a_writer_that_waits_comes_in_among_readers(self, crowd: Crowd, other: Crowd, key: str) -> None:
        """However many read, each when another has not yet left: it is let in, and they go on after it."""
        reading, writing, over = Locks(crowd), Locks(other), threading.Event()

        def read() -> None:
            while not over.is_set():
                lock = reading.lock(key, shared=True)
                if lock.acquire(timeout=20):
                    over.wait(0.02)
                    lock.release()

        readers = [threading.Thread(target=read) for _ in range(4)]
        for each in readers:
            each.start()
        try:
            wait_until(lambda: len(owners(crowd, key)) > 1, "some to read")
            for _ in range(2):
                assert writing.lock(key).acquire(timeout=20)
                assert writing.force_release(key)
                wait_until(lambda: len(owners(crowd, key)) > 1, "some to read on")
        finally:
            over.set()
            for each in readers:
                each.join()

    def test_one_that_does_not_wait_shuts_nobody_out(self, crowd: Crowd, other: Crowd, key: str) -> None:
        """A try for the key alone that is refused leaves no trace: who reads comes in as before."""
        enter(crowd, reader(key, "a"))
        for name in "bcd":
            assert not Locks(other).lock(key).acquire(blocking=False)
            enter(crowd, reader(key, name))
