"""The same withdrawal twice: once as it is usually written, once locked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from celery_locks import LockedTask, current_lease
from celery_locks.signals import requeued

from .app import app
from .ledger import Ledger

if TYPE_CHECKING:
    from celery import Task

    from celery_locks.events import Requeued

TTL = 3
COUNTDOWN = 1


@app.task(bind=True)
def withdraw_unlocked(self: Task[..., None], user_id: int, amount: int, think: float = 0.03) -> None:
    """Loses money: two jobs read the same balance, and the later write hides the earlier one."""
    with Ledger() as ledger, ledger.run(self.request.id, self.request.hostname, user_id):
        balance = ledger.balance(user_id)
        time.sleep(think)
        ledger.write(user_id, balance - amount)


@app.task(
    bind=True, base=LockedTask, lock_key="wallet:{user_id}", lock_ttl=TTL, lock_wait=0.02, lock_countdown=COUNTDOWN
)
def withdraw(self: Task[..., None], user_id: int, amount: int, think: float = 0.03) -> None:
    """One job at a time for each wallet. A job that finds its wallet taken goes back on the queue.

    Not promised: a job killed between its write and its acknowledgement runs, and withdraws, again. A bank that
    needs more keeps the job's id beside the balance.
    """
    fence = current_lease().fence
    with Ledger() as ledger, ledger.run(self.request.id, self.request.hostname, user_id, fence):
        balance = ledger.balance(user_id)
        time.sleep(think)
        ledger.write(user_id, balance - amount, fence)


@app.task(bind=True)
def audit(self: Task[..., None]) -> None:
    """Count the money, as often as app.py has scheduled it. The message says for which due time."""
    with Ledger() as ledger:
        ledger.note_audit((self.request.headers or {})["lock_due"], sum(ledger.balances().values()))


@requeued.connect
def note_requeue(event: Requeued) -> None:
    """Every re-queue is noted in the ledger, so that the show can count them."""
    with Ledger() as ledger:
        ledger.note_requeue(event.key, event.attempts)
