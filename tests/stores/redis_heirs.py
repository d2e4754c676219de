"""An heir: one that waits in a slot, and has said what its claim would, so that the key can be handed over to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.lease import Busy, Claim
from celery_locks.ticket import Stance, Ticket
from tests.stores.contract.asking import claim, take
from tests.stores.contract.waiting import heard_from
from tests.stores.places import Place, straight
from tests.stores.redis_stores import opened

if TYPE_CHECKING:
    from celery_locks.stores.base import Listening, Wake
    from celery_locks.stores.redis import RedisStore

KEY, HOME, OTHER = "wallet:42", "0a1b2c3d", "4e5f6071"
LOCK = f"lock:{{{KEY}}}"
HOMES = f"{LOCK}:homes"
HEIR = Claim(KEY, "shop.sync[an id]@host:7#0a1b", 30.0, ticket=Ticket("a", Stance.WAITS_IF_NEXT, HOME, echo=3))


def place_of(redis_url: str) -> Place:
    """A server whose store keeps a key for one that it called until the test is over."""
    return straight(redis_url, opened, "?claim_window=20")


def waits(store: RedisStore, heir: Claim = HEIR) -> str:
    """The heir waits for the key, which is taken, with this ticket."""
    busy = store.acquire(heir)
    assert isinstance(busy, Busy)
    assert busy.present
    assert busy.ticket
    return busy.ticket


def handed(store: RedisStore, slot: Listening, heir: Claim = HEIR) -> Wake:
    """The heir waits, the holder is done, and this is heard."""
    fence = take(store, KEY, "holder").fence
    waits(store, heir)
    assert store.release(claim(KEY, "holder"))
    wake = heard_from(slot)
    assert wake.fence > fence
    return wake
