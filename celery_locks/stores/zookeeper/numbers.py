"""How many slots keys were given, whatever claims say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kazoo.exceptions import NoNodeError

from celery_locks.stores.zookeeper.asking import refusal
from celery_locks.stores.zookeeper.steps import removal, written

if TYPE_CHECKING:
    from celery_locks.stores.zookeeper.asking import Asking
    from celery_locks.stores.zookeeper.names import Folders


class Numbers:
    """The numbers of slots that keys were given."""

    def __init__(self, asking: Asking, folders: Folders) -> None:
        self._asking = asking
        self._folders = folders

    def of(self, key: str) -> int | None:
        """That of a key."""
        return number(self._asking.look_at(self._folders.slots(key)))

    def put(self, key: str, slots: int | None) -> None:
        """Another one, or none."""
        node = self._folders.slots(key)
        if slots is None:
            self._done(self._asking.do(lambda client: removal(client, node, -1)))
            return
        data = str(slots).encode()
        while isinstance(self._done(self._asking.do(lambda client: written(client, node, data))), NoNodeError):
            self._asking.ask(lambda client: [client.ensure_path_async(node)])

    def _done(self, results: list[Any]) -> Exception | None:
        refused = refusal(results)
        if refused and not isinstance(refused, NoNodeError):
            raise self._asking.outage(refused)
        return refused


def number(found: Any) -> int | None:
    """The number that is written in a node."""
    return int(found[0]) if found and found[0].isdigit() else None
