"""Many processes and one key that several may hold."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from typing import TYPE_CHECKING, ClassVar

from celery_locks import Locks
from celery_locks.lease import Lease, Verdict
from tests.judging import Stay, crowding, misplaced, most_together, record, recorded
from tests.stores.contract.crowding import enter, part, reader, turned_away
from tests.stores.contract.fixtures import StoreFixtures
from tests.stores.processes import Crew, forking

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from celery_locks.stores import Store
    from tests.stores.contract.asking import Opens

SLOTS = 3
#: Long enough for a busy machine to renew nothing and yet be in time, short enough to wait for.
DIES_AFTER = 3.0
#: What each of those that press in wants, turn by turn.
_KINDS = "rrrssssw"


class RushContract(StoreFixtures):
    """For stores between processes whose keys several may hold. All press in, and some die with what they have."""

    #: How often each of the eight that press in comes.
    turns: ClassVar[int] = 16
    #: Whether some of them surely meet there: where it takes long to come in, and nobody waits in line, they may not.
    meet: ClassVar[bool] = True

    def test_never_too_many_whoever_dies(self, open_store: Opens, store: Store, key: str, tmp_path: Path) -> None:
        """Never more than there are slots, never readers with others, in whatever order; the dead keep no place."""
        (tmp_path / "asked").mkdir()
        with Crew() as victims, Crew() as crew:
            for number, kind in enumerate("ss"):
                _victim(victims, open_store, key, f"{kind} victim {number}")
            for number in range(8):
                crew.start(_mill, open_store, key, number, self.turns, tmp_path)
            for victim in victims.members:
                victim.kill()
            crew.done()
        stays = recorded(tmp_path)
        assert misplaced(recorded(tmp_path / "asked")) == []
        assert len(stays) == 8 * self.turns
        assert crowding(stays, SLOTS) == []
        assert most_together(stays) > 1 or not self.meet
        assert _free_places(store, key) == SLOTS

    def test_all_who_died_free_all_places(self, open_store: Opens, store: Store, key: str) -> None:
        """Three of three are killed: three that wait have their places when the leases are over."""
        with Crew() as victims, Crew() as crew:
            for number in range(SLOTS):
                _victim(victims, open_store, key, f"s victim {number}", ttl=60.0)
            turned_away(store, part(key, "more", SLOTS))
            together = forking.Barrier(SLOTS)
            for _ in range(SLOTS):
                crew.start(_wait_for_a_place, open_store, key, together)
            for victim in victims.members:
                victim.kill()
            if not store.in_connection:
                # Their last beat was for no longer than this.
                last = [Lease(part(key, f"s victim {n}", SLOTS, ttl=DIES_AFTER), 1, None) for n in range(SLOTS)]
                assert store.renew(last) == [Verdict.RENEWED] * SLOTS
            crew.done()
        assert _free_places(store, key) == SLOTS


def _victim(crew: Crew, open_store: Opens, key: str, name: str, ttl: float = DIES_AFTER) -> None:
    """One that holds the key and is about to be killed."""
    here, there = forking.Pipe(duplex=False)
    crew.start(_hold, open_store, key, name, ttl, there)
    there.close()
    assert here.poll(30), "the victim did not get so far"
    assert here.recv() == name


def _hold(open_store: Opens, key: str, name: str, ttl: float, ready: Connection) -> None:
    store = open_store()
    enter(store, (reader if name[0] == "r" else part)(key, name, ttl=ttl))
    ready.send(name)
    signal.pause()


def _mill(open_store: Opens, key: str, number: int, turns: int, folder: Path) -> None:
    with contextlib.closing(open_store()) as store:
        locks = Locks(store)
        for turn in range(turns):
            kind, asked = random.choice(_KINDS), time.monotonic()
            with locks.lock(key, ttl=60, slots=SLOTS if kind == "s" else 1, shared=kind == "r") as lease:
                begin = time.monotonic()
                time.sleep(random.uniform(0, 0.004))
                stay = Stay(begin, time.monotonic(), lease.fence, f"{kind}{number}.{turn}")
            record(folder, stay)
            record(folder / "asked", stay._replace(begin=asked))


def _wait_for_a_place(open_store: Opens, key: str, together: object) -> None:
    with contextlib.closing(open_store()) as store, Locks(store).lock(key, ttl=60, slots=SLOTS):
        # Nobody leaves before all are in.
        together.wait(60)  # type: ignore[attr-defined]  # a barrier


def _free_places(store: Store, key: str) -> int:
    """How many get in now, one after the other."""
    answers = (store.acquire(part(key, f"later {number}", SLOTS)) for number in range(SLOTS + 1))
    return sum(isinstance(answer, Lease) for answer in answers)
