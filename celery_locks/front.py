"""Puts a message where it is fetched next, with a broker that has a way."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Front:
    """A Redis client that puts on a list at the end from which kombu takes: there it puts back what was not done."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def lpush(self, *arguments: Any) -> Any:
        """At the other end than is asked for."""
        return self._client.rpush(*arguments)


@contextlib.contextmanager
def in_front(channel: Any) -> Iterator[None]:
    """What is published on this channel now goes before what waits in its queue, where that can be had."""
    connect = getattr(channel, "conn_or_acquire", None)
    if connect is None or vars(channel).get("conn_or_acquire"):
        yield
        return

    @contextlib.contextmanager
    def connected(client: Any = None) -> Iterator[Any]:
        with connect(client) as found:
            yield _Front(found)

    channel.conn_or_acquire = connected
    try:
        yield
    finally:
        del channel.conn_or_acquire
