"""One beat of the keeper, for one lease and for many: round trips, script calls and time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple
from unittest.mock import patch

import redis
from redis.connection import AbstractConnection

from benchmarks.report import AtMost, Figure, Measured, Part
from celery_locks import Locks
from celery_locks.keeper import Keeper
from celery_locks.lease import Claim, Lease, new_owner

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERVAL = 10.0
SCRIPT_CALLS = ("cmdstat_evalsha", "cmdstat_eval")


class _Ahead:
    """A clock that can be put forward, so that a beat is due at once."""

    def __init__(self) -> None:
        self.by = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.by


class _ByHand(Keeper):
    """Beats when it is told to, and not by itself."""

    def _expect(self, watched: object) -> None:
        """Start no thread: the beats are the benchmark's."""


class _Beats(NamedTuple):
    trips: float
    calls: float
    millis: Measured


def run(url: str, *, quick: bool) -> Part:
    """Leases of one store, all due at once."""
    rounds = 3 if quick else 50
    with redis.Redis.from_url(f"{url}/4") as client:
        beats = {many: _beats(f"{url}/4", client, many, rounds) for many in (1, 100, 1000)}
    return Part("renew", "one beat of the keeper", [figure for many in beats for figure in _figures(many, beats[many])])


def _figures(many: int, beats: _Beats) -> Iterator[Figure]:
    leases = f"{many:,} lease{'s' if many > 1 else ''}"
    yield Figure(f"{leases}: round trips", beats.trips, "", target=AtMost(1))
    yield Figure(f"{leases}: script calls", beats.calls, "")
    yield Figure.of(f"{leases}: time", beats.millis, "ms")


def _beats(url: str, client: redis.Redis, many: int, rounds: int) -> _Beats:
    locks, clock = Locks(url), _Ahead()
    keeper = _ByHand(locks.store, clock)
    leases = [_lease(locks, number) for number in range(many)]
    for lease in leases:
        keeper.watch(lease, INTERVAL)
    _beat(keeper, clock)
    calls, beats = _script_calls(client), [_beat(keeper, clock) for _ in range(rounds)]
    calls = _script_calls(client) - calls
    _give_back(keeper, locks, leases)
    trips = sum(trips for trips, _ in beats)
    return _Beats(trips / rounds, calls / rounds, Measured.of([millis for _, millis in beats]))


_SEND = AbstractConnection.send_packed_command


def _beat(keeper: Keeper, clock: _Ahead) -> tuple[int, float]:
    """How often something was sent, and milliseconds."""
    clock.by += INTERVAL
    with patch.object(AbstractConnection, "send_packed_command", autospec=True, side_effect=_SEND) as sending:
        started = time.perf_counter()
        keeper.tick()
        return sending.call_count, 1000 * (time.perf_counter() - started)


def _lease(locks: Locks, number: int) -> Lease:
    lease = locks.store.acquire(Claim(f"renewed:{number}", new_owner(), 3 * INTERVAL))
    if not isinstance(lease, Lease):
        raise TypeError(f"the key was taken: {lease}")
    return lease


def _give_back(keeper: Keeper, locks: Locks, leases: list[Lease]) -> None:
    for lease in leases:
        keeper.forget(lease)
        if not (lease.held() and locks.store.release(lease.claim)):
            raise RuntimeError(f"a lease was lost under its beats: {lease}")
    locks.close()


def _script_calls(client: redis.Redis) -> int:
    stats = client.info("commandstats")
    return sum(stats[name]["calls"] for name in SCRIPT_CALLS if name in stats)
