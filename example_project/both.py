"""A step of the show: deposits by RQ and withdrawals by Celery, from the same wallets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from redis import Redis
from rq import Queue

from . import judge, tasks
from .deposits import QUEUE, deposit
from .workers import Crew

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .demo import Bank
    from .judge import Check

USERS = range(1, 3)
OPENING, EACH = 1000, 15


def mixed(here: Bank) -> Iterator[Check]:
    """As much is paid in as is taken out, by workers of two kinds."""
    ledger = here.ledger
    here.screen.heading(f"{2 * EACH} deposits by RQ and {2 * EACH} withdrawals by Celery, in {len(USERS)} wallets")
    ledger.open_accounts(USERS, OPENING)
    url = os.environ["CELERY_BROKER_URL"]
    wanted = 2 * EACH * len(USERS)
    with Redis.from_url(url) as connection, Crew(here.directory) as crew:
        crew.hire("teller@bank", processes=2)
        crew.hire_rq("clerk-1", "clerk-2", url=url, queue=QUEUE)
        crew.wait_for(crew.ready, "the workers", 20)
        queue = Queue(QUEUE, connection=connection)
        for user_id in [user for _ in range(EACH) for user in USERS]:
            tasks.withdraw.delay(user_id, 1)
            queue.enqueue(deposit, user_id, 1)
        with here.screen.progress(wanted) as advance:

            def all_ran() -> bool:
                done = ledger.finished()
                advance(done, f"{judge.overlaps(ledger.runs())} overlapping runs")
                return done >= wanted

            crew.wait_for(all_ran, f"{wanted} jobs", seconds=40, pause=0.1)
    yield from judge.mixed(ledger, OPENING, wanted)
