"""Where the server of a test is, and how its clients are opened.

A test file, or a class in it, has a `place` fixture. By it the fixtures of all are made: `way`, a proxy on the way to
the server; `store`, a client whose requests go through it; `other`, one whose way is never broken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any

    from tests.servers.proxy import Proxy


@dataclass
class Place:
    """A server, by its URL."""

    url: str
    #: Gives a client, closed at the end.
    opened: Callable[[str], AbstractContextManager[Any]]
    #: Gives one that is connected already, and that waits no longer for a lost answer than a test must.
    ready: Callable[[str], AbstractContextManager[Any]]

    def way(self, proxy: Callable[[str], Proxy]) -> Any:
        """A way to it that can be broken."""
        return proxy(self.url)


class Straight(Place):
    """One whose clients go straight there: no proxy is on the way."""

    def way(self, proxy: Callable[[str], Proxy]) -> Place:
        del proxy
        return self


def fresh(url: str, opened: Callable[[str], AbstractContextManager[Any]], query: str = "") -> Place:
    """A server whose `store` has asked nothing yet."""
    return Place(url, opened, lambda way: opened(way + query))


def straight(url: str, opened: Callable[[str], AbstractContextManager[Any]], query: str = "") -> Place:
    """The same, and nothing is broken on the way there."""
    return Straight(url, opened, lambda way: opened(way + query))


def deliver(way: Proxy, opened: Callable[[str], AbstractContextManager[Any]]) -> None:
    """Let go what was held, and wait until it is passed on and requests sent after it have been answered."""
    way.let_go("requests")
    wait_until(lambda: not way.waiting("requests"), "the held requests to go on")
    with opened(way.url) as store:
        store.inspect("none")
        store.inspect("none")
