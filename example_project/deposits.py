"""A job of RQ that wants the same wallets as the Celery job in tasks.py. Nothing here knows of Celery."""

from __future__ import annotations

import time

from rq import get_current_job

from celery_locks import current_lease
from celery_locks.rq import locked

from .ledger import Ledger

QUEUE = "deposits"


@locked(key="wallet:{user_id}", ttl=3)
def deposit(user_id: int, amount: int, think: float = 0.03) -> None:
    """One job at a time for each wallet, whoever runs it."""
    job, fence = get_current_job(), current_lease().fence
    with Ledger() as ledger, ledger.run(job.id if job else None, "rq", user_id, fence):
        balance = ledger.balance(user_id)
        time.sleep(think)
        ledger.write(user_id, balance + amount, fence)
