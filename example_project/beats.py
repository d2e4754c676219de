"""The last step of the show: an audit each second, sent by two beats, of which the one that leads is killed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from celery_locks import Locks
from celery_locks.owner import Owner

from . import judge
from .app import app
from .workers import Crew

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .demo import Bank
    from .judge import Check

BEFORE, AFTER = 3, 6  # audits
TTL = app.conf.lock_beat_ttl


def scheduled(here: Bank) -> Iterator[Check]:
    """The beat that leads is killed: the other one goes on, and no second is left out or audited twice."""
    ledger, say = here.ledger, here.screen.say
    here.screen.heading("An audit each second, and two beats, of which the one that sends is killed")
    ledger.open_accounts(range(1, 3), 100)
    with Crew(here.directory) as crew:
        crew.hire("auditor@bank", processes=1)
        crew.schedule("beat-1", "beat-2")
        crew.wait_for(crew.ready, "the beats", 20)
        crew.wait_for(lambda: len(ledger.audits()) >= BEFORE, f"{BEFORE} audits", 20)
        first = leader(crew)
        killed_at = time.monotonic()
        crew.fire(first)
        say(f"  {first} has sent {len(ledger.audits())} audits, and is killed")
        crew.wait_for(lambda: leader(crew) != "", "the other beat to lead", 3 * TTL)
        followed_after = time.monotonic() - killed_at
        say(f"  {leader(crew)} leads, {followed_after:.2f} s later")
        wanted = len(ledger.audits()) + AFTER
        crew.wait_for(lambda: len(ledger.audits()) >= wanted, f"{AFTER} more audits", 20)
    yield from judge.scheduled(ledger.audits(), followed_after, TTL)


def leader(crew: Crew) -> str:
    """Which of the beats that live leads, if one does."""
    holder = Locks.from_app(app).holder("beat-leader:bank")
    return crew.named(Owner.of(holder.owner).pid if holder else None) or ""
