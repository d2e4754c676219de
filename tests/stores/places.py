"""Where the server of a test is, and how its clients are opened.

A test file, or a class in it, has a `place` fixture. By it the fixtures of all are made: `way`, a proxy on the way to
the server; `store`, a client whose requests go through it; `other`, one whose way is never broken.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from celery_locks.stores import DEFAULT_PREFIX, Store, open_store
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any

    from tests.servers.proxy import Proxy

S = TypeVar("S", bound=Store)


class Opened(Protocol[S]):
    """Gives a store by its URL, closed at the end."""

    def __call__(self, url: str, prefix: str = DEFAULT_PREFIX) -> AbstractContextManager[S]: ...


def opener(kind: type[S], spelt: Callable[[str], str] = str) -> Opened[S]:
    """What opens stores of one kind, each by its URL or by what `spelt` makes of that."""

    @contextlib.contextmanager
    def opened(url: str, prefix: str = DEFAULT_PREFIX) -> Iterator[S]:
        with contextlib.closing(open_store(spelt(url), prefix=prefix)) as store:
            assert isinstance(store, kind)
            yield store

    return opened


@dataclass
class Place:
    """A server, by its URL."""

    url: str
    #: Gives a client.
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
