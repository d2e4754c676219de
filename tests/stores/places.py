"""Where the server of a test is, and how its clients are opened.

A test file, or a class in it, has a `place` fixture. By it the fixtures of all are made: `way`, a proxy on the way to
the server, where something is to be broken there; `store`, a client that goes this way; `other`, one that goes
straight there.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from celery_locks.stores import DEFAULT_PREFIX, Store, open_store
from tests.stores.contract.asking import take
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any

    from tests.servers.proxy import Proxy

S = TypeVar("S", bound=Store)
S_co = TypeVar("S_co", bound=Store, covariant=True)


class Opened(Protocol[S_co]):
    """Gives a store by its URL, closed at the end."""

    def __call__(self, url: str, prefix: str = DEFAULT_PREFIX) -> AbstractContextManager[S_co]: ...


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
    #: Gives the one that a test is about. As a rule it is connected already, and waits no longer than a test must for
    #: an answer that is lost.
    ready: Callable[[str], AbstractContextManager[Any]]

    def way(self, proxy: Callable[[str], Proxy]) -> Any:
        """A way to it that can be broken."""
        return proxy(self.url)


class Straight(Place):
    """One whose clients go straight there: no proxy is on the way."""

    def way(self, proxy: Callable[[str], Proxy]) -> Place:
        del proxy
        return self


def connected(url: str, opened: Opened[Any], query: str, key: str = "first") -> Place:
    """A server whose `store` has taken a key, and so is connected."""

    @contextlib.contextmanager
    def ready(way: str) -> Iterator[Any]:
        with opened(way + query) as store:
            take(store, key)
            yield store

    return Place(url, opened, ready)


def fresh(url: str, opened: Opened[Any], query: str = "") -> Place:
    """A server whose `store` has asked nothing yet."""
    return Place(url, opened, lambda way: opened(way + query))


def straight(url: str, opened: Opened[Any], query: str = "") -> Place:
    """The same, and nothing is broken on the way there."""
    return Straight(url, opened, lambda way: opened(way + query))


def deliver(way: Proxy, opened: Callable[[str], AbstractContextManager[Any]]) -> None:
    """Let go what was held, and wait until it is passed on and requests sent after it have been answered."""
    way.let_go("requests")
    wait_until(lambda: not way.waiting("requests"), "the held requests to go on")
    with opened(way.url) as store:
        store.inspect("none")
        store.inspect("none")
