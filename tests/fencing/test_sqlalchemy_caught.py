"""What a job that caught the guard's error can still commit: nothing of what it was to write."""

from __future__ import annotations

import contextlib

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from celery_locks import LockLost, StaleFence
from celery_locks.fencing.sqlalchemy import claim, fenced
from tests.fencing.leases import lease_of, over
from tests.fencing.wallets import WALLETS, Wallet, raised, stored


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


@pytest.mark.parametrize(
    "write",
    [
        lambda session, wallet: fenced(session, wallet, lease_of(5)),
        lambda session, wallet: fenced(session, [session.get(Wallet, 2), wallet], lease_of(5)),
        lambda session, _: claim(session, Wallet, 1, lease_of(5)),
    ],
    ids=["object", "objects", "claim"],
)
def test_what_was_flushed_outside_of_a_savepoint_is_undone_with_it(engine, write):
    """`begin_nested()` flushes what was changed before it, and in front of the savepoint: a refusal reaches there."""
    raised(engine, 1, 6)
    with Session(engine) as session, contextlib.suppress(InvalidRequestError), session.begin():
        wallet = session.get(Wallet, 1)
        wallet.balance = 50
        with pytest.raises(StaleFence), session.begin_nested():
            write(session, wallet)
        session.get(Wallet, 3)
    assert stored(engine)[1] == (7, 6)


def test_what_was_flushed_two_savepoints_further_out_is_undone_too(engine):
    """And what is outside of it is not."""
    raised(engine, 1, 6)
    with Session(engine) as session, session.begin():
        session.get(Wallet, 3).balance = 1
        wallet = session.get(Wallet, 1)
        with session.begin_nested():
            wallet.balance = 50
            with contextlib.suppress(StaleFence), session.begin_nested(), session.begin_nested():
                fenced(session, wallet, lease_of(5))
    assert stored(engine) == {1: (7, 6), 2: (100, 0), 3: (1, 0)}


def test_a_deletion_outside_of_a_savepoint_is_undone_with_it(engine):
    """The row is gone, so that nobody can tell whether it was stale."""
    raised(engine, 1, 6)
    with Session(engine) as session, contextlib.suppress(InvalidRequestError), session.begin():
        wallet = session.get(Wallet, 1)
        session.delete(wallet)
        with pytest.raises(StaleDataError), session.begin_nested():
            fenced(session, wallet, lease_of(5))
        session.get(Wallet, 3)
    assert stored(engine)[1] == (7, 6)


def test_words_of_sql_are_asked_before_the_write(engine):
    """What they match may change by it: here the other row's balance ends what made this one match."""
    raised(engine, 1, 6)
    total = text("(SELECT total FROM (SELECT SUM(balance) AS total FROM wallets) AS all_of_them) > 100")
    with Session(engine) as session, contextlib.suppress(StaleFence), session.begin():
        fenced(session, update(WALLETS).where(total).values(balance=0), lease_of(5))
    assert stored(engine) == {1: (7, 6), 2: (100, 0), 3: (100, 0)}


def test_rows_do_not_pass_from_one_key_to_another(engine, monkeypatch):
    """In a statement as by an object: under the lease of one key that of the other is not known."""
    monkeypatch.setattr(Wallet, "__fence_key__", "wallet:{note}")
    moving = update(Wallet).where(Wallet.note == "a")
    with Session(engine) as session:
        for statement in (
            moving.values(note="b"),
            moving.values({Wallet.note: "b"}),
            moving.ordered_values(("note", "b")),
        ):
            with pytest.raises(InvalidRequestError, match="note of wallets is to be changed"):
                fenced(session, statement, lease_of(5, key="wallet:a"))
        fenced(session, moving.values(balance=1), lease_of(5, key="wallet:a"))
