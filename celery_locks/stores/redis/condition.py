"""How a Redis server describes itself: its INFO, its settings, its clock, and what else it keeps."""

from __future__ import annotations

import abc
import itertools
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from celery_locks.stores.operations import Clocked, Served, Server

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterator

    from celery_locks.stores.redis.wire import Pooled, Wire


class RedisCondition(Served, Clocked, abc.ABC):
    """The part of the store that only a doctor asks for."""

    _wire: Wire
    prefix: str

    def servers(self) -> list[Server]:
        with self._speaking():
            return [described(node) for node in self._wire.nodes()]

    def strangers(self, most: int) -> list[str]:
        with self._speaking():
            return strangers(self._wire, self.prefix, most)

    def time(self) -> float:
        with self._speaking():
            return time_of(self._wire.nodes()[0])

    @abc.abstractmethod
    def _speaking(self) -> contextlib.AbstractContextManager[None]: ...


def described(node: Pooled) -> Server:
    """What a server says of itself."""
    return Server(node.place, _info(text(node.repeated("INFO", "all"))), _config(node))


def time_of(node: Pooled) -> float:
    """Its clock."""
    seconds, micro = node.repeated("TIME")
    return int(seconds) + int(micro) / 1e6


def strangers(wire: Wire | Pooled, prefix: str, most: int) -> list[str]:
    """Names that do not begin as the locks do."""
    names: Iterator[str] = map(text, itertools.islice(wire.names("*"), most))
    return [name for name in names if not name.startswith(prefix)]


def _info(text: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))


def _config(node: Pooled) -> dict[str, str] | None:
    # One setting a question: older servers take no more. Where CONFIG is taken away, as in a rented Redis, none.
    try:
        pairs = [node.repeated("CONFIG", "GET", name) for name in ("save", "appendfsync")]
    except ResponseError:
        return None
    return {text(pair[0]): text(pair[1]) for pair in pairs if len(pair) == 2}  # noqa: PLR2004 - name and value


def text(said: Any) -> str:
    """What a server said, whether the connection reads it as text or not."""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
