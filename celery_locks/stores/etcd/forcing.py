"""How a key is looked at, and freed whoever has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.stores.etcd import messages
from celery_locks.stores.etcd.leases import keys_under, revoke
from celery_locks.stores.etcd.naming import kind_of

if TYPE_CHECKING:
    from celery_locks.stores.etcd.messages import Taken
    from celery_locks.stores.etcd.wire import Talk


def look(talk: Talk, name: str) -> Taken | None:
    """The lock of this name."""
    return next(messages.shown(talk.ask(messages.RANGE, messages.look(name))), None)


def seen(talk: Talk, base: str) -> tuple[list[Taken], int]:
    """All who have a key, and the revision at which it was looked at."""
    answer = talk.ask(messages.RANGE, messages.everyone(base))
    return [taken for taken in messages.shown(answer) if kind_of(base, taken.name) is not None], messages.revision(
        answer
    )


def forced_out(talk: Talk, base: str, fence: int | None = None) -> bool:
    """Whether its holders were put out: the one with this fence, or whoever it was that had it."""
    forced = False
    meant = {taken.fence for taken in seen(talk, base)[0] if fence in (None, taken.fence)}
    # A holder may have moved it to another lease meanwhile: it is the same lock while its fence is.
    while left := [taken for taken in seen(talk, base)[0] if taken.fence in meant]:
        forced = True in [put_out(talk, taken) for taken in left] or forced
    return forced


def put_out(talk: Talk, taken: Taken) -> bool:
    """Free a lock if it is still the same, and no other with it."""
    if taken.lease and keys_under(taken.lease) == 1:
        # With the key goes the lease, so that its holder cannot keep it alive.
        return revoke(talk, taken.lease)
    return bool(talk.ask(messages.TXN, messages.delete(taken)).get("succeeded"))
