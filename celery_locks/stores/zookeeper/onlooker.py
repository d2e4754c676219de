"""What can be seen in ZooKeeper's tree of the locks that are held, and how one is ended by hand."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any, NamedTuple

from kazoo.exceptions import BadVersionError, NoNodeError

from celery_locks.lease import Busy, Holding
from celery_locks.stores.zookeeper.asking import refusal
from celery_locks.stores.zookeeper.names import crowded, written
from celery_locks.stores.zookeeper.steps import sweep

if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterator

    from celery_locks.stores.zookeeper.answer import Answer
    from celery_locks.stores.zookeeper.asking import Asking
    from celery_locks.stores.zookeeper.client import Client
    from celery_locks.stores.zookeeper.names import Folders

#: How often to try again for a key that was given back while we looked who has it.
TRIES = 3
SHOWN_AT_ONCE = 500


class Seen(NamedTuple):
    """Who has a key, of several the first by name. `node`: what changes when it may be free."""

    owner: str | None
    node: str
    #: Of a key that several hold, how often somebody has come or left.
    version: int | None = None


class Onlooker:
    """Sees the locks of everybody below two folders."""

    def __init__(self, asking: Asking, folders: Folders) -> None:
        self._asking = asking
        self._folders = folders

    def seen(self, lock: str) -> Seen | None:
        """Who has the lock of this node; None when nobody has."""
        found = self._asking.look_at(lock)
        if not found or not crowded(found[0]):
            return Seen(owner(found[0]), lock) if found else None
        return self.among(lock, found[1].cversion)

    def among(self, lock: str, version: int, members: builtins.list[str] | None = None) -> Seen | None:
        """One of several who have it."""
        for member in sorted(self._members(lock) if members is None else members)[:1]:
            (found,) = self._asking.ask(lambda client: [client.get_async(f"{lock}/{member}")])  # noqa: B023 - called at once
            return Seen(owner(found[0]) if found else None, lock, version)
        return None

    def holder(self, lock: str) -> Busy | None:
        """The same as an answer."""
        seen = self.seen(lock)
        return Busy(seen.owner) if seen else None

    def inspect(self, key: str) -> Holding | None:
        """Who has a key, of several the one who came first."""
        return next(iter(self.holders(key)), None)

    def holders(self, key: str) -> builtins.list[Holding]:
        """All who have a key."""
        lock = self._folders.lock(key)
        return self._holdings(key, lock, self._asking.look_at(lock))

    def list(self, pattern: str) -> Iterator[Holding]:
        """All that is held on keys that match."""
        (nodes,) = self._asking.look(lambda client: [client.get_children_async(self._folders.locks)])
        keys = {node: self._folders.key(node) for node in nodes or ()}
        wanted = [node for node, key in keys.items() if key is None or fnmatch.fnmatchcase(key, pattern)]
        for start in range(0, len(wanted), SHOWN_AT_ONCE):
            for holding in self._shown(wanted[start : start + SHOWN_AT_ONCE]):
                if fnmatch.fnmatchcase(holding.key, pattern):
                    yield holding

    def force_release(self, key: str, fence: int | None = None) -> bool:
        """Remove what is seen, if that has the fence that was named, and nothing that came after it; whether it did."""
        lock = self._folders.lock(key)
        for _ in range(TRIES):
            found = self._asking.look_at(lock)
            if found and crowded(found[0]):
                return self._scattered(lock, fence)
            if not found or fence not in (None, found[1].czxid):
                return False
            refused = refusal(self._asking.do(lambda client: self._removing(client, lock, found)))  # noqa: B023 - called at once
            if refused is None:
                return True
            if not isinstance(refused, (NoNodeError, BadVersionError)):
                raise self._asking.outage(refused)
        return False

    def _scattered(self, lock: str, fence: int | None) -> bool:
        """Remove those of several who are seen."""
        removed = False
        for path, found in self._each(lock):
            if fence in (None, found[1].czxid):
                refused = refusal(self._asking.do(lambda client: self._removing(client, path, found)))  # noqa: B023 - called at once
                removed = removed or refused is None
        self._asking.do(lambda client: sweep(client, lock))
        return removed

    def _members(self, lock: str) -> builtins.list[str]:
        (members,) = self._asking.ask(lambda client: [client.get_children_async(lock)])
        return members or []

    def _each(self, lock: str) -> builtins.list[tuple[str, Any]]:
        """The nodes of those who hold a key together, and what is written there, as they came."""
        paths = [f"{lock}/{member}" for member in self._members(lock)]
        answers = self._asking.ask(lambda client: [client.get_async(path) for path in paths])
        return sorted(
            ((path, found) for path, found in zip(paths, answers, strict=True) if found),
            key=lambda each: int(each[1][1].czxid),
        )

    def _holdings(self, key: str, lock: str, found: Any) -> builtins.list[Holding]:
        if found and crowded(found[0]):
            return [_holding(key, each) for _, each in self._each(lock)]
        return [_holding(key, found)] if found else []

    def _shown(self, nodes: builtins.list[str]) -> Iterator[Holding]:
        paths = [f"{self._folders.locks}/{node}" for node in nodes]
        answers = self._asking.ask(lambda client: [client.get_async(path) for path in paths])
        for node, path, found in zip(nodes, paths, answers, strict=True):
            names = (crowded(found[0]) or written(found[0])) if found else None
            key = names[0] if names else self._folders.key(node)
            if key is not None:
                yield from self._holdings(key, path, found)

    def _removing(self, client: Client, lock: str, found: Any) -> Answer:
        data, stat = found
        names, both = written(data), client.transaction()
        if names:
            both.delete(self._folders.name(*names).mark)
        both.delete(lock, -1 if names else stat.version)
        answer: Answer = both.commit_async()
        return answer


def owner(data: bytes | None) -> str | None:
    """Whom a node names; None when it is none of ours."""
    return (written(data) or (None, None))[1]


def _holding(key: str, found: Any) -> Holding:
    return Holding(key, owner(found[0]) or "unknown", found[1].czxid, None)
