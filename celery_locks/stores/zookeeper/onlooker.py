"""What can be seen in ZooKeeper's tree of the locks that are held, and how one is ended by hand."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

from kazoo.exceptions import BadVersionError, NoNodeError

from celery_locks.lease import Busy, Holding
from celery_locks.stores.zookeeper.asking import refusal
from celery_locks.stores.zookeeper.names import written

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


class Onlooker:
    """Sees the locks of everybody below two folders."""

    def __init__(self, asking: Asking, folders: Folders) -> None:
        self._asking = asking
        self._folders = folders

    def holder(self, lock: str) -> Busy | None:
        """Who has the lock of this node."""
        found = self._asking.look_at(lock)
        return Busy(owner(found[0])) if found else None

    def inspect(self, key: str) -> Holding | None:
        """Who has a key."""
        return _holding(key, self._asking.look_at(self._folders.lock(key)))

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
            if not found or fence not in (None, found[1].czxid):
                return False
            refused = refusal(self._asking.do(lambda client: self._removing(client, lock, found)))  # noqa: B023 - called at once
            if refused is None:
                return True
            if not isinstance(refused, (NoNodeError, BadVersionError)):
                raise self._asking.outage(refused)
        return False

    def _shown(self, nodes: builtins.list[str]) -> Iterator[Holding]:
        paths = [f"{self._folders.locks}/{node}" for node in nodes]
        answers = self._asking.ask(lambda client: [client.get_async(path) for path in paths])
        for node, found in zip(nodes, answers, strict=True):
            names = written(found[0]) if found else None
            key = names[0] if names else self._folders.key(node)
            if found and key is not None and (holding := _holding(key, found)):
                yield holding

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


def _holding(key: str, found: Any) -> Holding | None:
    return Holding(key, owner(found[0]) or "unknown", found[1].czxid, None) if found else None
