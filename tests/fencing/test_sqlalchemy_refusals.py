"""What a job that caught the guard's error can still commit: nothing of what it was to write."""

from __future__ import annotations

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from celery_locks import LockLost
from celery_locks.fencing.sqlalchemy import claim, fenced
from tests.fencing.leases import lease_of
from tests.fencing.wallets import WALLETS, Wallet, stored


def raised(engine, number, fence):
    """Another holder has written the row."""
    with engine.begin() as connection:
        connection.execute(update(WALLETS).where(WALLETS.c.id == number).values(fence=fence, balance=7))


def over():
    lease = lease_of(5)
    lease.lose("it is a test")
    return lease


@pytest.mark.parametrize(
    "write",
    [
        lambda session, wallet: fenced(session, wallet, over()),
        lambda session, _: fenced(session, update(Wallet).where(Wallet.id == 2).values(balance=0), over()),
        lambda session, _: claim(session, Wallet, 2, over()),
    ],
    ids=["object", "statement", "claim"],
)
def test_what_a_lease_that_is_over_was_to_write_is_not_committed(engine, write):
    """The change stands in the session, and the commit would flush it without a guard."""
    raised(engine, 1, 6)
    with Session(engine) as session:
        wallet = session.get(Wallet, 1)
        wallet.balance = 50
        with pytest.raises(LockLost):
            write(session, wallet)
        session.commit()
    assert stored(engine)[1] == (7, 6)
