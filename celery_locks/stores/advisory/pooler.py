"""Tells a pooler that lends a session for a transaction at a time: locks that live in a session cannot live there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.stores.sessions import Broken, Refused

if TYPE_CHECKING:
    from celery_locks.stores.advisory.wire import PostgresSession

REFUSAL = (
    "a pooler lends its sessions for one transaction at a time here (PgBouncer's pool_mode=transaction), and a lock"
    " would be left in a session that others use: name Postgres itself, or a pool with pool_mode=session"
)
#: Where others use the pool at the same time, chance may give us the same session again, but not as often as that.
ROUNDS = 8
_NO_TRANSACTIONS = "transaction blocks not allowed"


def shares(one: PostgresSession, second: PostgresSession) -> bool:
    """Whether two connections to a pooler get the same session of the server, or one of them different ones.

    A pooler gives a free session first to whoever asks next, or the one that was free for the longest. While the second
    connection is in a transaction, and after it, the first gets another one in either case.
    """
    mine = one.backend_pid()
    return any(_meets(one, second, mine) for _ in range(ROUNDS))


def _meets(one: PostgresSession, second: PostgresSession, mine: int) -> bool:
    try:
        second.do("BEGIN")
        other = second.backend_pid()
    except (Refused, Broken) as error:
        # A pool with pool_mode=statement does not even keep a session for a transaction.
        if _NO_TRANSACTIONS in str(error):
            return True
        raise
    during = one.backend_pid()
    second.do("COMMIT")
    return {mine} != {during, one.backend_pid(), one.backend_pid()} or other == mine
