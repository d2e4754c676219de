"""A clock that moves when told to, and a store that fails when told to."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import traceback
import warnings
from typing import TYPE_CHECKING

from celery_locks.errors import StoreUnavailable
from celery_locks.guard import Guard
from celery_locks.keeper import Keeper
from celery_locks.lease import Busy, Claim, Holding, Lease, Verdict, new_owner
from celery_locks.locks import Locks
from celery_locks.stores import Inspects, Store
from celery_locks.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.signals import Signal

START = 1000.0


class FakeClock:
    """Monotonic time that passes only in `sleep` and `advance`, and runs what was planned for that time."""

    def __init__(self) -> None:
        self.now = START
        self.slept: list[float] = []
        self._planned: list[tuple[float, Callable[[], object]]] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        for when, action in sorted(self._planned, key=lambda each: each[0]):
            if when <= until:
                self._planned.remove((when, action))
                self.now = max(self.now, when)
                action()
        self.now = until

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        """Do it when that much time has passed."""
        self._planned.append((self.now + seconds, action))


class FaultyStore(Store, Inspects):
    """A memory store whose next calls can be told to fail, to fail after they were done, or to answer late."""

    hands_over = True

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.memory = MemoryStore(clock=clock)
        self.calls: list[tuple[str, object]] = []
        self._time = clock
        self._errors: dict[str, list[tuple[BaseException, bool]]] = {}
        self._delays: dict[str, list[float]] = {}

    def fail(self, verb: str, error: BaseException | None = None, *, times: int = 1, done: bool = False) -> None:
        """The next calls of the verb raise; `done`: after the store did what was asked, the answer being lost."""
        found = error or StoreUnavailable("the server does not answer: start it")
        self._errors.setdefault(verb, []).extend([(found, done)] * times)

    def delay(self, verb: str, seconds: float) -> None:
        """The answer to the next call of the verb is this late."""
        self._delays.setdefault(verb, []).append(seconds)

    def called(self, verb: str) -> list[object]:
        return [argument for name, argument in self.calls if name == verb]

    def acquire(self, claim: Claim) -> Lease | Busy:
        with self._answering("acquire", claim):
            return self.memory.acquire(claim)

    def renew(self, leases: Sequence[Lease]) -> list[Verdict]:
        with self._answering("renew", list(leases)):
            return self.memory.renew(leases)

    def release(self, claim: Claim) -> bool:
        with self._answering("release", claim):
            return self.memory.release(claim)

    def inspect(self, key: str) -> Holding | None:
        with self._answering("inspect", key):
            return self.memory.inspect(key)

    def list(self, pattern: str = "*") -> Iterator[Holding]:
        return self.memory.list(pattern)

    def force_release(self, key: str) -> bool:
        return self.memory.force_release(key)

    @contextlib.contextmanager
    def _answering(self, verb: str, argument: object) -> Iterator[None]:
        self.calls.append((verb, argument))
        error, done = self._errors[verb].pop(0) if self._errors.get(verb) else (None, False)
        if error and not done:
            raise error
        yield
        if self._delays.get(verb):
            self._time.advance(self._delays[verb].pop(0))
        if error:
            raise error


def without_thread(keeper: Keeper) -> Keeper:
    """A keeper that beats only when its `tick` is called, and reports at once what it finds then."""
    keeper._beats.thread = keeper._ends.thread = threading.current_thread()
    for name in ("tick", "expire"):
        _reporting(keeper, name)
    return keeper


def _reporting(keeper: Keeper, name: str) -> None:
    step = getattr(keeper, name)

    def reporting() -> None:
        keeper._crier._rounds.thread = threading.current_thread()
        step()
        keeper._crier.report()

    setattr(keeper, name, reporting)


class Room:
    """A guard and its locks over a faulty store, all on one fake clock, and nothing that runs by itself."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = FaultyStore(self.clock)
        self.keeper = without_thread(Keeper(self.store, self.clock))
        self.guard = Guard(self.store, clock=self.clock, sleep=self.clock.sleep, keeper=self.keeper)
        self.locks = Locks(self.store)
        self.locks.guard = self.guard

    def claim(self, key: str = "wallet:42", owner: str | None = None, ttl: float = 30.0) -> Claim:
        return Claim(key, owner or new_owner("test"), ttl)

    def take(self, key: str = "wallet:42", owner: str = "somebody", ttl: float = 30.0) -> Claim:
        """Somebody else takes the key."""
        claim = Claim(key, owner, ttl)
        if not isinstance(self.store.memory.acquire(claim), Lease):
            raise TypeError(f"{key} is taken already")
        return claim

    def free(self, claim: Claim) -> None:
        """Somebody else gives the key back."""
        self.store.memory.release(claim)

    def steal(self, key: str = "wallet:42") -> Claim:
        """Somebody else takes the key from its holder."""
        self.store.memory.force_release(key)
        return self.take(key, owner="thief")

    def holder(self, key: str = "wallet:42") -> str | None:
        holding = self.store.memory.inspect(key)
        return holding.owner if holding else None

    def watched(self) -> list[Lease]:
        return [each.lease for each in self.keeper._watched.values()]


@contextlib.contextmanager
def heard(*signals: Signal) -> Iterator[list]:
    """The events sent meanwhile."""
    events: list = []
    for each in signals:
        each.connect(events.append)
    try:
        yield events
    finally:
        for each in signals:
            each.disconnect(events.append)


def in_child(action: Callable[[], object]) -> int:
    """Do it in a forked child, and give the child's exit status; a child that hangs is ended by a signal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads about is what is tested
        child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.setitimer(signal.ITIMER_REAL, 10.0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            action()
            status = 0
        except BaseException:  # noqa: BLE001 - a child of pytest must never return into pytest
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def refuse(refusal):
    """What a test's work does without a lease: show why."""
    return refusal


def pass_time(room: Room, seconds: float, step: float = 0.5) -> None:
    """Let time go by with the keeper awake, as its thread would be."""
    for _ in range(round(seconds / step)):
        room.clock.advance(step)
        room.keeper.tick()
