"""Gives back a key that may be handed over to one that has gone: it could not tell the store so."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy
from celery_locks.rounds import leave_signals_to_main

if TYPE_CHECKING:
    from celery_locks.care import Care
    from celery_locks.lease import Claim, Lease
    from celery_locks.stores import Store

logger = logging.getLogger("celery_locks.guard")

#: A store hands over nothing more, in seconds, to one that has not asked again for so long.
LATELY = 3.5
#: A store that cannot be reached is asked again after so many seconds.
AGAIN = 1.0


def gone(claim: Claim, outcome: Lease | Busy | None, store: Store, care: Care) -> None:
    """Its job goes back to its queue, for it met an outage. `outcome`: what it was answered before.

    If its key may be handed over to it, it stays on the board until that is given back.
    """
    if not (claim.ticket and claim.ticket.echo and isinstance(outcome, Busy)):
        care.left(claim)
        return
    try:
        threading.Thread(target=_see_to, args=(claim, store, care), name="celery_locks-heir", daemon=True).start()
    except RuntimeError as error:
        logger.warning("%r: %s may stay taken for %g s if it is handed over", error, claim.shown, claim.ttl)
        care.left(claim)


def _see_to(claim: Claim, store: Store, care: Care) -> None:
    leave_signals_to_main()
    until = time.monotonic() + LATELY + claim.ttl
    time.sleep(LATELY)
    try:
        # Its place in line is another's by now, who has its ticket: only what it holds is given back.
        while not _is_given_back(claim._replace(ticket=None), store) and time.monotonic() < until:
            time.sleep(AGAIN)
    finally:
        care.left(claim)


def _is_given_back(claim: Claim, store: Store) -> bool:
    try:
        if store.release(claim):
            logger.info("%s was handed over to one that had gone: given back", claim.shown)
    except StoreUnavailable:
        return False
    return True
