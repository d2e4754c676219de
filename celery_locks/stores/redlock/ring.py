"""All nodes as one thread sees them: asked at once, and heard as they answer."""

from __future__ import annotations

import contextlib
import math
import os
import time
from typing import TYPE_CHECKING

from celery_locks.stores.redlock.link import poller
from celery_locks.stores.redlock.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from celery_locks.stores.redlock.address import Address
    from celery_locks.stores.redlock.ask import Ask

#: Once a majority has answered and nothing is decided, the others are given this long, or twice as long as it took: a
#: node that is merely slower may decide it. One that hangs will not. So a node is given it from the oldest request on
#: that it has not answered: one that hangs is waited for once, and not by each call again.
GRACE = 0.1


class Ring:
    """Used by one thread at a time, and ended when that was interrupted."""

    def __init__(self, address: Address) -> None:
        self._poll = poller()
        self._awake: dict[int, Node] = {}
        self.name = address.shown
        self.timeout = address.seconds["socket_timeout"]
        delay = address.seconds["restart_delay"]
        self.nodes = [Node(place, self, timeout=self.timeout, restart_delay=delay) for place in address.places]
        self.majority = len(self.nodes) // 2 + 1
        self._asked = 0

    @property
    def is_new(self) -> bool:
        """Whether this is its first request."""
        return self._asked == 1

    @property
    def caveat(self) -> str:
        """Why a later holder's fence may be lower: two majorities may have in common just the server that forgot."""
        forgetful = [node.place for node in self.nodes if node.forgets]
        if not forgetful:
            return ""
        return (
            f"{self.name}: {len(forgetful)} of {len(self.nodes)} servers, {forgetful[0]} first,"
            " keep no append-only file or do not say so: when one is restarted fences may go down, and a guard then"
            " refuses the new holder or lets an old one write. Set appendonly yes and appendfsync always on all"
        )

    def watch(self, node: Node, number: int, events: int) -> None:
        self._awake[number] = node
        self._poll.register(number, events)

    def forget(self, number: int) -> None:
        if self._awake.pop(number, None):
            self._poll.unregister(number)

    def ask(self, asks: Sequence[Ask], is_enough: Callable[[], bool], patience: float | None = None) -> float:
        """Ask all nodes at once and hear them until it is enough, or none is left to hear; how long that took.

        A node that hangs or is down is waited for only where the others do not suffice.
        """
        self._asked += 1
        start = self.hear()
        for node in self.nodes:
            node.give_up_waiting(start)
        if sum(node.is_ready for node in self.nodes) < self.majority:
            # Those that were not there a moment ago are needed now.
            for node in self.nodes:
                node.hurry()
        for ask in asks:
            for node in self.nodes:
                node.put(ask, start)
        deadline = start + (self.timeout if patience is None else patience)
        return self._gather(asks, is_enough, start, deadline) - start

    def ask_each(self, asks: Mapping[Node, Ask]) -> None:
        """Ask each node something of its own, and hear them all."""
        start = self.hear()
        for node, ask in asks.items():
            node.put(ask, start)
        self._gather(
            [*asks.values()],
            lambda: not any(ask.silent([node]) for node, ask in asks.items()),
            start,
            start + self.timeout,
        )

    def tell(self, ask: Ask, nodes: Iterable[Node]) -> None:
        """Send it to some nodes and wait for no answer."""
        now = time.monotonic()
        for node in nodes:
            node.put(ask, now)

    def linger(self, asks: Sequence[Ask], seconds: float, took: float = 0.0) -> None:
        """Hear the other nodes for so long, although it is enough; `took`: for how long they were heard already."""
        for ask in asks:
            ask.open = True
        now = time.monotonic()
        self._gather(asks, lambda: False, now, now + seconds, took)

    def hear(self, milliseconds: int = 0) -> float:
        """Wait that long for something to happen, and do what it calls for; what time it is then."""
        events = self._poll.poll(milliseconds)
        now = time.monotonic()
        for number, _ in events:
            # Whoever woke before it may have ended it.
            if node := self._awake.get(number):
                node.wake(now)
        return now

    def _gather(
        self, asks: Sequence[Ask], is_enough: Callable[[], bool], now: float, deadline: float, took: float = 0.0
    ) -> float:
        start, patience = now - took, 0.0
        while not is_enough() and any(ask.silent(self.nodes) for ask in asks):
            if not patience and all(len(ask.answers) >= self.majority for ask in asks):
                took = now - start
                patience = took + max(GRACE, 2 * took)
            until = min(deadline, self._waits_until(asks, patience)) if patience else deadline
            if now >= until:
                break
            now = self.hear(math.ceil((until - now) * 1000))
        for ask in asks:
            ask.open = False
        return now

    def _waits_until(self, asks: Sequence[Ask], patience: float) -> float:
        """When each of the nodes that may yet answer has had that long for what it owes."""
        return max([node.owes_since for ask in asks for node in ask.silent(self.nodes)]) + patience

    def end(self, farewell: bytes = b"") -> None:
        """Hang up everywhere."""
        for node in self.nodes:
            node.end(farewell)


class Rings:
    """The rings of a process: as many as threads have asked at once."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: list[Ring] = []
        self._pid = os.getpid()

    @contextlib.contextmanager
    def one(self, farewell: Callable[[], bytes] = bytes) -> Iterator[Ring]:
        """A ring for one call.

        Whatever interrupts the call, a soft time limit or Ctrl-C, ends the ring: nobody is to hear an answer that is
        not its own. Before that it says farewell.
        """
        ring = self._taken()
        try:
            yield ring
        except BaseException:
            ring.end(farewell())
            raise
        self._idle.append(ring)

    def close(self) -> None:
        """Hang up everywhere."""
        while ring := self._popped():
            ring.end()

    def _taken(self) -> Ring:
        if self._pid != os.getpid():
            # Those of the parent are the parent's. To close them here says nothing to the nodes.
            self._pid = os.getpid()
            self.close()
        return self._popped() or Ring(self._address)

    def _popped(self) -> Ring | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None
