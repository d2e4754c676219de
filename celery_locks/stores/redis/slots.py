"""Which node of a cluster has which keys."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - redis-py's own
    RedisClusterException,
    RedisError,
    TimeoutError,  # noqa: A004 - redis-py's own
    TryAgainError,
)

from celery_locks.stores.redis.wire import Pooled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import redis

    from celery_locks.stores.redis.calls import Call

    Place = tuple[str, int]

LAST = 16_383
#: No answer at all.
SILENCE = (ConnectionError, TimeoutError, OSError)
#: The key is on its way to another node, or has arrived there. `MovedError` is one of them.
MOVING = (AskError, TryAgainError)
_ASTRAY = (*MOVING, ClusterDownError)


class _Map(NamedTuple):
    """The last slot of each range, and who has the range."""

    ends: list[int]
    homes: list[Pooled]


class Slots:
    """Which node has which keys, as one of the nodes said, and the connections to each.

    They are looked up at the first use, when a key was not where it should be, and before a node that was silent is
    asked again, for it may have been replaced. We do it ourselves: redis-py's client asks whichever node it likes, so
    that one that hangs makes look-ups fail. Here those that were silent are asked last, a second look-up costs at most
    one timeout, and one that fails changes nothing.
    """

    def __init__(self, seeds: Sequence[Place], pool_at: Callable[[str, int], redis.ConnectionPool]) -> None:
        self._pool_at = pool_at
        pool: Any = pool_at(*seeds[0])
        self._encoded = pool.get_encoder().encode
        self._seeds = seeds
        self._nodes: dict[Place, Pooled] = {}
        self._turns = list(seeds)
        self._map: _Map | None = None
        self._stale = True
        self._silent: set[Pooled] = set()

    def homes(self, calls: Iterable[Call]) -> list[Pooled]:
        """Where each call's key lives."""
        slots = [key_slot(self._encoded(call.names[0])) for call in calls]
        return self._current(lambda known: [known.homes[bisect_left(known.ends, slot)] for slot in slots])

    def masters(self) -> list[Pooled]:
        """All nodes that have keys."""
        return self._current(lambda known: list(dict.fromkeys(known.homes)))

    def heed(self, node: Pooled, answer: object) -> None:
        """Learn from a node's answer, or from its silence."""
        if isinstance(answer, SILENCE):
            # Its other connections may have died as well.
            node.hang_up()
            self._silent.add(node)
        else:
            self._silent.discard(node)
            self._stale = self._stale or isinstance(answer, _ASTRAY)

    def close(self) -> None:
        """Give back the connections."""
        for node in [*self._nodes.values()]:
            node.hang_up()

    def _current(self, of: Callable[[_Map], list[Pooled]]) -> list[Pooled]:
        nodes = of(self._map) if self._map else []
        if self._stale or not self._silent.isdisjoint(nodes):
            nodes = of(self._looked_up())
        return nodes

    def _looked_up(self) -> _Map:
        """A new map, or the old one when there is none to be had within one timeout."""
        failure: Exception = RedisClusterException("its slots are not covered")
        for place in self._in_turn():
            node = self._at(place)
            try:
                said = node.repeated("CLUSTER", "SLOTS")
            except (RedisError, OSError) as error:
                self.heed(node, failure := error)
                if self._map and isinstance(error, TimeoutError):
                    break
                continue
            self.heed(node, said)
            if _covers(said):
                return self._adopted(said, place)
        if self._map is None:
            raise failure
        return self._map

    def _in_turn(self) -> list[Place]:
        """Those that were silent last, and each time another first: one that is cut off has not heard who took over."""
        self._turns = turns = [*self._turns[1:], *self._turns[:1]]
        return sorted(turns, key=lambda place: self._nodes.get(place) in self._silent)

    def _adopted(self, said: Any, asked: Place) -> _Map:
        ranges = sorted((end, [_place(node, asked) for node in nodes]) for _, end, *nodes in said)
        new = _Map([end for end, _ in ranges], [self._at(nodes[0]) for _, nodes in ranges])
        places = {*self._seeds}.union(*(nodes for _, nodes in ranges))
        self._turns = [*dict.fromkeys(place for place in [*self._turns, *places] if place in places)]
        for place in {*self._nodes} - places:
            gone = self._nodes.pop(place)
            gone.hang_up()
            self._silent.discard(gone)
        self._map, self._stale = new, False
        return new

    def _at(self, place: Place) -> Pooled:
        # Not made anew at each look-up: the connections to the others are as good as before.
        return self._nodes.get(place) or self._nodes.setdefault(place, Pooled(self._pool_at(*place)))


def _covers(said: Any) -> bool:
    expected = 0
    for first, end, *_ in sorted(said, key=lambda found: found[0]):
        if first != expected:
            return False
        expected = end + 1
    return expected == LAST + 1


def _place(node: Any, asked: Place) -> Place:
    # A node that does not know its own host is where it was asked.
    host = node[0] or asked[0]
    return host.decode() if isinstance(host, bytes) else host, int(node[1])
