"""Holders that die or sleep, and servers that are upset, while work goes on under locks."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pytest

from celery_locks.guard import Guard
from celery_locks.lease import Claim, Lease, new_owner
from tests.judging import Stay, disorder, faults, record, recorded
from tests.stores.contract.asking import Opens, patient, refused
from tests.stores.contract.fixtures import StoreFixtures
from tests.stores.processes import Crew
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celery_locks.stores import Store


class Scene(NamedTuple):
    """Where holders have their locks, and what happens to the server there while they work."""

    url: str
    upset: Callable[[], object]


class FaultContract(StoreFixtures):
    """For stores that lock between processes. Holders are processes that keep their leases as a worker does."""

    #: Long enough for the beats of a busy machine, short enough to wait for.
    fault_ttl: ClassVar[float] = 1.5
    crowd: ClassVar[int] = 4
    #: Whether a holder that was frozen past its ttl has lost its key by then. Else it keeps it.
    sleeper_loses: ClassVar[bool] = True
    #: Whether one that lost it knows before its next write. Else its fence, lower than the next one's, tells.
    sleeper_knows: ClassVar[bool] = True
    #: Whether no two holders work at once through all that `upset` does. Else their fences tell them apart.
    upset_excludes: ClassVar[bool] = True

    @pytest.fixture
    def scene(self) -> Scene:
        """The server and its trouble: killed, restarted, its leader gone. Or a test gives `url` and `upset` apart."""
        raise NotImplementedError

    @pytest.fixture
    def url(self, scene: Scene) -> str:
        return scene.url

    @pytest.fixture
    def upset(self, scene: Scene) -> Callable[[], object]:
        return scene.upset

    def test_a_killed_holder_is_followed(self, open_store: Opens, other: Store, key: str, tmp_path: Path) -> None:
        """Its key is free when its ttl is over, or at once, and the next fence is higher."""
        with Crew() as crew:
            crew.start(_hold, open_store, key, self.fault_ttl, tmp_path)
            fence = _announced(tmp_path)
            refused(other, key)
            crew.members[0].kill()
            crew.members[0].join()
            assert patient(other, key, "ben").fence > fence

    def test_a_frozen_holder_does_not_write_over_the_next(
        self, open_store: Opens, other: Store, key: str, tmp_path: Path
    ) -> None:
        """Frozen past its ttl and let go on, it knows that its lease is over, or its fence is the lower one."""
        with Crew() as crew:
            holder = crew.start(_hold, open_store, key, self.fault_ttl, tmp_path)
            fence = _announced(tmp_path)
            assert holder.pid
            os.kill(holder.pid, signal.SIGSTOP)
            following = self._after_the_ttl(other, key)
            (tmp_path / "write").touch()
            os.kill(holder.pid, signal.SIGCONT)
            crew.done()
        written = (tmp_path / "written").exists()
        if following is None:
            assert written
        else:
            assert following.fence > fence
            assert not (written and self.sleeper_knows)

    def test_holders_exclude_each_other_while_the_server_is_upset(
        self, open_store: Opens, key: str, upset: Callable[[], object], tmp_path: Path
    ) -> None:
        """Before, through and after it each holder is alone, or its fence orders it; and afterwards all go on."""
        with Crew() as crew:
            for number in range(self.crowd):
                crew.start(_take_turns, open_store, key, self.fault_ttl, f"holder {number}", tmp_path)
            wait_until(lambda: len(recorded(tmp_path)) > self.crowd, "the first turns to be over", 60)
            upset()
            (tmp_path / "over").touch()
            crew.done()
        judge = faults if self.upset_excludes else disorder
        assert judge(recorded(tmp_path)) == []

    def _after_the_ttl(self, other: Store, key: str) -> Lease | None:
        if self.sleeper_loses:
            return patient(other, key, "ben")
        end = time.monotonic() + 2 * self.fault_ttl
        wait_until(lambda: time.monotonic() > end, "two ttls to pass")
        refused(other, key)
        return None


def nothing() -> None:
    """What happens where there is no server that could be upset."""


def killed(server: Any) -> Callable[[], None]:
    """What upsets a server: it is killed and started again."""

    def kill() -> None:
        server.kill()
        server.start()

    return kill


def _announced(folder: Path) -> int:
    found = wait_until(lambda: list(folder.glob("holds-*")), "the holder to hold", 60)
    return int(found[0].name.removeprefix("holds-"))


def _hold(open_store: Opens, key: str, ttl: float, folder: Path) -> None:
    """Hold the key until told to write, and write if the lease is held then."""

    def job(lease: Lease) -> None:
        (folder / f"holds-{lease.fence}").touch()
        wait_until((folder / "write").exists, "the word to write", 90)
        if lease.held():
            (folder / "written").touch()

    with contextlib.closing(open_store()) as store:
        claim = Claim(key, new_owner("holder"), ttl)
        Guard(store).run(claim, job, lambda _: None, beat=ttl / 3, strict=False)


def _take_turns(open_store: Opens, key: str, ttl: float, name: str, folder: Path) -> None:
    """Work under the key again and again until all is over, and once more after that."""
    with contextlib.closing(open_store()) as store:
        guard = Guard(store)
        over = False
        while not over:
            over = (folder / "over").exists()
            wait_until(partial(_turn, guard, key, ttl, name, folder), f"{name} to have its turn", 60)


def _turn(guard: Guard, key: str, ttl: float, name: str, folder: Path) -> bool:
    claim = Claim(key, new_owner(name), ttl)
    done = guard.run(claim, partial(_stay, folder), lambda _: False, wait=ttl, beat=ttl / 3, strict=False)
    # The others come first now.
    time.sleep(random.uniform(0, 0.02))
    return done


def _stay(folder: Path, lease: Lease) -> bool:
    """Stay for a moment, and record as its end the last time at which the lease was known to be held."""
    begin = last = time.monotonic()
    end = begin + random.uniform(0.02, 0.06)
    while last < end:
        time.sleep(0.001)
        now = time.monotonic()
        if not lease.held():
            break
        last = now
    record(folder, Stay(begin, last, lease.fence, lease.owner.replace("/", "_")))
    return True
