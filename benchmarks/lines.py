"""What a waiting job costs in lines of different length: commands and messages, and memory while it waits."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import redis

from benchmarks import contended
from benchmarks.contended import seconds
from benchmarks.crew import BROKER, Team, crew
from benchmarks.report import AtMost, Figure, Part
from benchmarks.server import own_server
from celery_locks import Locks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from benchmarks.crew import Crew

REMARKS = (
    "commands: those inside scripts as well; in the workers: their main processes, where the messages wait",
    "the jobs have a countdown of an hour: with that of their own, of 24 to 30 s, those of a line that lasts longer go",
    "back to the queue once more for each 24 to 30 s that they wait",
)
KEY, LINE = "lined up", "lock:{lined up}:line"
#: What is asked of the server for this benchmark or for a connection. No script uses these.
OURS = {"info", "config|resetstat", "memory|usage", "scan", "zcard", "zrevrange", "select", "hello", "client|setinfo"}
#: Tickets of those that are present are scored with microseconds, others above that.
PRESENT = 4e15
ALIKE = AtMost(1.1)


class _Cost(NamedTuple):
    """Of one line, for each of its jobs: commands and messages, and bytes while it waits; and jobs a second."""

    commands: float
    messages: float
    in_redis: float
    in_worker: float
    rate: float


def run(url: str, *, quick: bool) -> Part:
    """The longest line first: its jobs are to find none of the memory that others have left."""
    lengths = (50, 10) if quick else (10_000, 1000, 100, 10)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory, own_server(Path(directory)) as locks:
        costs = _costs(url, locks, lengths)
    figures = [figure for length in reversed(lengths) for figure in _figures(length, costs[length])]
    plain = _bytes_of_a_countdown(url, lengths[0])
    figures += [*_compared(costs), *_memory(lengths[0], costs, plain)]
    return Part("line-length", "jobs in one line", figures, REMARKS)


def _figures(length: int, cost: _Cost) -> Iterator[Figure]:
    yield Figure(f"{length:,} in line: Redis commands a job", cost.commands, "")
    yield Figure(f"{length:,} in line: messages a job", cost.messages, "")
    yield Figure(f"{length:,} in line: empty jobs a second", cost.rate, "jobs/s")


def _compared(costs: dict[int, _Cost]) -> Iterator[Figure]:
    commands, messages = [cost.commands for cost in costs.values()], [cost.messages for cost in costs.values()]
    yield Figure("Redis commands a job, the most / the least", max(commands) / min(commands), "x", target=ALIKE)
    yield Figure("messages a job, the most / the least", max(messages) / min(messages), "x", target=ALIKE)


def _memory(length: int, costs: dict[int, _Cost], plain: float) -> Iterator[Figure]:
    cost, waiting = costs[length], f"{length:,} in line"
    yield Figure(f"{waiting}: in Redis, MEMORY USAGE of the line", cost.in_redis * length / 1024, "KiB")
    yield Figure(f"{waiting}: of that, bytes a job", cost.in_redis, "B")
    yield Figure(f"{waiting}: resident in the workers, bytes a job", cost.in_worker, "B")
    yield Figure("the same for a plain job with a countdown", plain, "B")


def _costs(url: str, locks: str, lengths: Sequence[int]) -> dict[int, _Cost]:
    with crew(url, locks, Team(), warm=[contended.patient]) as workers, counting(url, locks) as count:
        return {length: _cost(workers, locks, count, length) for length in lengths}


def _cost(workers: Crew, locks: str, count: Counting, length: int) -> _Cost:
    with _taken(locks):
        before = workers.resident()
        count.begin()
        workers.send(contended.patient, [KEY] * length)
        workers.wait(count.present, length, f"{length:,} jobs in line")
        in_redis, in_worker = count.bytes([LINE]), max(0, workers.resident() - before)
    took = seconds(workers.ended(length, "jobs in line"))
    commands, messages = count.commands(), count.messages()
    return _Cost(commands / length, messages / length, in_redis / length, in_worker / length, (length - 1) / took)


class Counting:
    """What the servers of the locks and of the broker have done since the beginning."""

    def __init__(self, broker: redis.Redis, locks: redis.Redis) -> None:
        self._broker = broker
        self._locks = locks

    def begin(self) -> None:
        for client in (self._broker, self._locks):
            client.config_resetstat()

    def present(self) -> int:
        """Who can start at once; one less than there are as long as any cannot."""
        last = self._locks.zrevrange(LINE, 0, 0, withscores=True)
        return self._locks.zcard(LINE) - (not last or float(last[0][1]) >= PRESENT)

    def held(self, messages: int) -> int:
        """Messages that are in the workers, once so many have been sent; before that, minus those that are to come."""
        missing = messages - self.messages()
        return int(self._broker.hlen("unacked")) if missing <= 0 else -missing

    def names(self) -> set[bytes]:
        """Whatever the locks have written."""
        return set(self._locks.scan_iter(count=1000))

    def bytes(self, names: Iterable[bytes | str]) -> int:
        return sum(self._locks.memory_usage(name, samples=0) or 0 for name in names)

    def commands(self) -> int:
        return sum(calls for name, calls in _calls(self._locks).items() if name not in OURS)

    def messages(self) -> int:
        """Every message is pushed on a queue, the first of a job in the pen."""
        calls = _calls(self._broker)
        # A job that is published again goes to the front.
        return calls.get("lpush", 0) + calls.get("rpush", 0)


def _calls(client: redis.Redis) -> dict[str, int]:
    return {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in client.info("commandstats").items()}


@contextmanager
def counting(url: str, locks: str) -> Iterator[Counting]:
    with redis.Redis.from_url(f"{url}/{BROKER}") as broker, redis.Redis.from_url(locks) as store:
        yield Counting(broker, store)


@contextmanager
def _taken(url: str) -> Iterator[None]:
    locks = Locks(url)
    with locks.lock(KEY, ttl=600):
        yield
    locks.close()


def _bytes_of_a_countdown(url: str, length: int) -> float:
    """What a job without a lock takes in the workers while it waits there for its countdown to end."""
    with crew(url, f"{url}/2", Team()) as workers, redis.Redis.from_url(f"{url}/{BROKER}") as broker:
        before = workers.resident()
        workers.send(contended.plain, [KEY] * length, countdown=contended.PATIENT)
        workers.wait(lambda: int(broker.hlen("unacked")), length, f"{length:,} jobs with a countdown")
        held = workers.resident() - before
        broker.flushdb()
    return max(0, held) / length
