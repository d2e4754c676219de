"""One request to many nodes, and what they have said to it so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from celery_locks.stores.redlock.protocol import packed, packed_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.stores.redlock.node import Node
    from celery_locks.stores.redlock.protocol import Word
    from celery_locks.stores.redlock.scripts import Script


class Ask:
    """A script with its keys and arguments.

    While it is open somebody waits for its answers. Closed, it is still worth sending until `until`, monotonic time.
    """

    __slots__ = ("_again", "_taught", "answers", "failures", "in_full", "open", "request", "script", "sequel", "until")

    def __init__(self, script: Script, names: Sequence[Word], arguments: Sequence[Word], until: float = 0.0) -> None:
        head = b"*%d\r\n" % (3 + len(names) + len(arguments))
        tail = packed_part(len(names), *names, *arguments)
        self._start(script.by_sha, head + script.by_sha + tail, head + script.in_full + tail, until)

    def _start(self, script: bytes, request: bytes, in_full: bytes, until: float) -> None:
        self.script = script
        self.request = request
        self.in_full = in_full
        self.until = until
        self.open = True
        self.answers: dict[Node, Any] = {}
        self.failures: dict[Node, Exception] = {}
        #: What an answer calls for that comes when all is decided.
        self.sequel: Callable[[Any], Ask | None] | None = None
        self._again: set[Node] = set()
        self._taught: set[Node] = set()

    def closed(self) -> Ask:
        """Itself, to be sent with nobody waiting: it brings its script along, for it cannot be said again later."""
        self.request, self.open = self.in_full, False
        return self

    def said(self, known: set[bytes]) -> bytes:
        """The request, with the script where that is not among those the node knows. It is from then on."""
        if self.script in known:
            return self.request
        known.add(self.script)
        return self.in_full

    def is_wanted(self, now: float) -> bool:
        """Whether it is still to be sent."""
        return self.open or self.until > now

    def hear(self, node: Node, answer: Any, now: float) -> Ask | None:
        """Note an answer, and give what is to be said to that node because of it: this again if it lacks the script."""
        if not isinstance(answer, ResponseError):
            self.answers[node] = answer
            return self.sequel(answer) if self.sequel else None
        if self.is_wanted(now) and node not in self._taught and str(answer).startswith("NOSCRIPT"):
            self._taught.add(node)
            return self
        self.failures[node] = answer
        return None

    def is_worth_repeating(self, node: Node, error: Exception, now: float) -> bool:
        """Whether to send it again, the once, after the connection broke that it was sent on."""
        first = node not in self._again
        self._again.add(node)
        late = isinstance(error, TimeoutError)
        if not first or late:
            self.failures[node] = error
        return first and (self.until > now or (self.open and not late))

    def doubtful(self, nodes: Sequence[Node]) -> Iterator[Node]:
        """The nodes that may have done it, or may yet do it, without an answer that was heard."""
        for node in nodes:
            if node not in self.answers and (node not in self.failures or node in self._again):
                yield node

    def silent(self, nodes: Sequence[Node]) -> list[Node]:
        """The nodes that may yet answer."""
        return [node for node in nodes if node not in self.answers and node not in self.failures]


class Command(Ask):
    """A plain command."""

    __slots__ = ()

    def __init__(self, *words: Word) -> None:
        request = packed(*words)
        self._start(b"", request, request, 0.0)
