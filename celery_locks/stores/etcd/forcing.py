"""How a key is looked at, and freed whoever has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.stores.etcd import messages
from celery_locks.stores.etcd.leases import revoke

if TYPE_CHECKING:
    from celery_locks.stores.etcd.messages import Taken
    from celery_locks.stores.etcd.wire import Talk


def look(talk: Talk, name: str) -> Taken | None:
    """The lock of this name."""
    return seen(talk, name)[0]


def seen(talk: Talk, name: str) -> tuple[Taken | None, int]:
    """The lock, and the revision at which it was looked at."""
    answer = talk.ask(messages.RANGE, messages.look(name))
    return next(messages.shown(answer), None), messages.revision(answer)


def forced_out(talk: Talk, name: str, fence: int | None = None) -> bool:
    """Whether its holder was put out: the one with this fence, or whoever it was that had it."""
    forced = False
    # The holder may have moved it to another lease meanwhile: it is the same lock while its fence is.
    while (taken := look(talk, name)) and fence in (None, taken.fence):
        if _forced(talk, taken):
            fence, forced = taken.fence, True
    return forced


def _forced(talk: Talk, taken: Taken) -> bool:
    if taken.lease:
        # With the key goes the lease, so that its holder cannot keep it alive.
        return revoke(talk, taken.lease)
    return bool(talk.ask(messages.TXN, messages.delete(taken)).get("succeeded"))
