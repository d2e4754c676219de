"""The guard for SQLAlchemy: objects of a session, on each database."""

from __future__ import annotations

import pytest
from sqlalchemy import event, update
from sqlalchemy.exc import InvalidRequestError, NoResultFound, PendingRollbackError
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.orm.exc import StaleDataError

from celery_locks import LockError, LockLost, Locks, StaleFence
from celery_locks.fencing.sqlalchemy import claim, fenced
from tests.fencing.leases import lease_of
from tests.fencing.wallets import WALLETS, Wallet, stored


@pytest.fixture
def session(engine):
    with Session(engine) as session:
        yield session


@pytest.fixture
def statements(engine):
    """The statements that are sent, by their first word."""
    said = []

    def note(*about):
        said.append(about[2].split()[0])

    event.listen(engine, "before_cursor_execute", note)
    yield said
    event.remove(engine, "before_cursor_execute", note)


def raised(engine, number, fence):
    """Another holder has written the row."""
    with engine.begin() as connection:
        connection.execute(update(WALLETS).where(WALLETS.c.id == number).values(fence=fence, balance=7))


@pytest.mark.parametrize("before", [0, 4, 5])
def test_a_row_is_written_with_its_fence(engine, session, statements, before):
    """Where there is none, a lower one or the same: changes and fence in one statement."""
    raised(engine, 1, before)
    wallet = session.get(Wallet, 1)
    wallet.balance = 50
    statements.clear()
    fenced(session, wallet, lease_of(5))
    assert statements == ["UPDATE"]
    session.commit()
    assert stored(engine)[1] == (50, 5)


def test_what_was_written_is_no_change_any_more(session, statements):
    """A later flush does not write it again, and the object knows its fence."""
    wallet = session.get(Wallet, 1)
    wallet.balance = 50
    fenced(session, wallet, lease_of(5))
    statements.clear()
    assert (wallet.fence, wallet in session.dirty) == (5, False)
    session.commit()
    assert statements == []


def test_the_same_holder_writes_again(engine, session):
    """Also when it changes nothing but what it changed before."""
    wallet = session.get(Wallet, 1)
    for balance in (50, 40, 40):
        wallet.balance = balance
        fenced(session, wallet, lease_of(5))
    session.commit()
    assert stored(engine)[1] == (40, 5)


def test_a_stale_holder_is_refused(engine, session):
    """With an error that says which row, which fence and which key."""
    wallet = session.get(Wallet, 1)
    session.commit()
    raised(engine, 1, 6)
    wallet.balance = 50
    with pytest.raises(StaleFence, match=r"row id=1 of wallets was not written: fence 5 of 'wallet'.* fence 6 has"):
        fenced(session, wallet, lease_of(5))
    session.rollback()
    assert stored(engine)[1] == (7, 6)


def test_a_refusal_is_as_a_flush_that_failed(engine, session):
    """Who catches it and goes on to commit is told, and commits nothing."""
    raised(engine, 1, 6)
    session.get(Wallet, 2).balance = 1
    session.flush()
    session.get(Wallet, 1).balance = 50
    with pytest.raises(StaleFence):
        fenced(session, session.get(Wallet, 1), lease_of(5))
    with pytest.raises((PendingRollbackError, InvalidRequestError)):
        session.commit()
    session.rollback()
    session.commit()
    assert stored(engine) == {1: (7, 6), 2: (100, 0), 3: (100, 0)}


def test_after_a_refusal_the_session_goes_on_with_what_is_stored(engine, session):
    """Once it was rolled back, as after any failed flush."""
    raised(engine, 1, 6)
    wallet = session.get(Wallet, 1)
    wallet.balance = 50
    with pytest.raises(StaleFence):
        fenced(session, wallet, lease_of(5))
    session.rollback()
    assert (wallet.balance, wallet.fence) == (7, 6)
    wallet.balance = 8
    fenced(session, wallet, lease_of(7))
    session.commit()
    assert stored(engine)[1] == (8, 7)


def test_what_was_flushed_before_does_not_outlive_the_refusal(engine, session):
    """A query in between has written the changes already, without a guard."""
    raised(engine, 1, 6)
    wallet = session.get(Wallet, 1)
    wallet.balance = 50
    session.get(Wallet, 2)
    session.flush()
    with pytest.raises(StaleFence):
        fenced(session, wallet, lease_of(5))
    session.rollback()
    session.commit()
    assert stored(engine)[1] == (7, 6)


def test_what_was_flushed_before_stands_with_the_fence(engine, session):
    """When nobody else has written."""
    wallet = session.get(Wallet, 1)
    wallet.balance = 50
    session.flush()
    fenced(session, wallet, lease_of(5))
    session.commit()
    assert stored(engine)[1] == (50, 5)


def test_a_savepoint_keeps_the_rest_of_the_transaction(engine, session):
    """Only what was inside it is undone."""
    raised(engine, 1, 6)
    session.get(Wallet, 2).balance = 1
    session.flush()
    with pytest.raises(StaleFence), session.begin_nested():
        _write_inside(session)
    session.commit()
    assert stored(engine) == {1: (7, 6), 2: (1, 0), 3: (100, 0)}


def _write_inside(session):
    session.get(Wallet, 3).balance = 1
    session.get(Wallet, 1).balance = 50
    fenced(session, session.get(Wallet, 1), lease_of(5))


def test_other_work_of_the_transaction_is_written_with_it(engine, session):
    """The flush is that of the whole session; only the object that was handed over is guarded."""
    raised(engine, 2, 9)
    with session.begin():
        session.get(Wallet, 2).balance = 1
        session.get(Wallet, 1).balance = 50
        fenced(session, session.get(Wallet, 1), lease_of(5))
        session.add(Wallet(id=4))
    assert stored(engine) == {1: (50, 5), 2: (1, 9), 3: (100, 0), 4: (0, 0)}


def test_without_changes_it_claims(engine):
    """The fence is written, and the object is as it is stored now."""
    with Session(engine, expire_on_commit=False) as session:
        wallet = session.get(Wallet, 1)
        session.commit()
        raised(engine, 1, 4)
        fenced(session, wallet, lease_of(5))
        assert (wallet.balance, wallet.fence) == (7, 5)
        session.commit()
    assert stored(engine)[1] == (7, 5)


def test_several_objects_are_written_together(engine, session):
    """Changed, new, unchanged and deleted ones."""
    changed, deleted, unchanged = (session.get(Wallet, number) for number in (1, 2, 3))
    new = Wallet(id=4, balance=9)
    session.add(new)
    session.delete(deleted)
    changed.balance = 50
    fenced(session, [changed, deleted, unchanged, new], lease_of(5))
    session.commit()
    assert stored(engine) == {1: (50, 5), 3: (100, 5), 4: (9, 5)}


@pytest.mark.parametrize("stale", [1, 2, 3])
def test_of_several_objects_none_is_written_when_one_is_stale(engine, session, stale):
    """Whichever it is."""
    before = stored(engine)
    raised(engine, stale, 6)
    wallets = [session.get(Wallet, number) for number in (1, 2, 3)]
    for wallet in wallets:
        wallet.balance = 50
    with pytest.raises(StaleFence, match=f"row id={stale} of wallets"):
        fenced(session, wallets, lease_of(5))
    session.rollback()
    assert stored(engine) == before | {stale: (7, 6)}


def test_a_new_object_gets_the_fence(engine, session):
    """There is nothing to compare it with."""
    wallet = Wallet(id=4)
    session.add(wallet)
    fenced(session, wallet, lease_of(5))
    session.commit()
    assert stored(engine)[4] == (0, 5)


@pytest.mark.parametrize(("stored_fence", "left"), [(5, {2, 3}), (6, {1, 2, 3})])
def test_a_deletion_is_guarded(engine, session, stored_fence, left):
    """It is done for the holder of the row, and refused to one before."""
    raised(engine, 1, stored_fence)
    wallet = session.get(Wallet, 1)
    session.delete(wallet)
    if stored_fence == 6:
        with pytest.raises(StaleFence):
            fenced(session, wallet, lease_of(5))
    else:
        fenced(session, wallet, lease_of(5))
        session.commit()
    session.rollback()
    assert set(stored(engine)) == left


@pytest.mark.parametrize("change", [True, False], ids=["changed", "unchanged"])
def test_a_row_that_is_gone_is_not_stale(engine, change):
    """SQLAlchemy's own error says that there is no such row."""
    with Session(engine, expire_on_commit=False) as session:
        wallet = session.get(Wallet, 1)
        session.commit()
        with engine.begin() as connection:
            connection.execute(WALLETS.delete().where(WALLETS.c.id == 1))
        wallet.balance = 50 if change else wallet.balance
        with pytest.raises(StaleDataError):
            fenced(session, wallet, lease_of(5))


def test_a_claim_reads_what_is_stored_now(engine):
    """Also into an object that the session had before."""
    with Session(engine, expire_on_commit=False) as session:
        wallet = session.get(Wallet, 1)
        session.commit()
        raised(engine, 1, 4)
        assert claim(session, Wallet, 1, lease_of(5)) is wallet
        assert (wallet.balance, wallet.fence) == (7, 5)
        session.commit()
    assert stored(engine)[1] == (7, 5)


def test_a_stale_claim_is_refused(engine, session):
    """And leaves nothing."""
    raised(engine, 1, 6)
    with pytest.raises(StaleFence):
        claim(session, Wallet, 1, lease_of(5))
    session.commit()
    assert stored(engine)[1] == (7, 6)


def test_a_claim_of_a_row_that_is_not_there_says_so(session):
    """It is not stale."""
    with pytest.raises(NoResultFound, match=r"row id=9 of wallets is not there"):
        claim(session, Wallet, 9, lease_of(5))


def test_what_was_changed_is_not_claimed_afterwards(session):
    """The change rests on what was read before the claim."""
    session.get(Wallet, 1).balance = 50
    with pytest.raises(InvalidRequestError, match="claim it first"):
        claim(session, Wallet, 1, lease_of(5))


def test_the_running_job_s_lease_is_the_default(engine):
    """One line of the job changes."""

    def job():
        with Session(engine) as session:
            claim(session, Wallet, 1).balance -= 30
            fenced(session, session.get(Wallet, 1))
            session.commit()

    Locks("memory://").run("wallet:1", job)
    assert stored(engine)[1][0] == 70
    assert stored(engine)[1][1] > 0


def test_without_a_lease_nothing_is_written(engine, session):
    """Nor under one that is over."""
    wallet = session.get(Wallet, 1)
    wallet.balance = 50
    with pytest.raises(LockError, match="nothing to write under"):
        fenced(session, wallet)
    lost = lease_of(5)
    lost.lose("it is a test")
    with pytest.raises(LockLost):
        fenced(session, wallet, lost)
    assert stored(engine)[1] == (100, 0)


def test_a_scoped_session_is_a_session(engine):
    """As web frameworks have it."""
    session = scoped_session(sessionmaker(engine))
    session.get(Wallet, 1).balance = 50
    fenced(session, session.get(Wallet, 1), lease_of(5))
    session.commit()
    claim(session, Wallet, 1, lease_of(6))
    session.commit()
    session.remove()
    assert stored(engine)[1] == (50, 6)


def test_two_sessions_are_told_apart(engine):
    """The second finds the first one's fence, whatever it has read before."""
    with Session(engine) as newer, Session(engine, expire_on_commit=False) as stale:
        wallet = stale.get(Wallet, 1)
        stale.commit()
        claim(newer, Wallet, 1, lease_of(6)).balance = 60
        newer.commit()
        wallet.balance = 50
        with pytest.raises(StaleFence):
            fenced(stale, wallet, lease_of(5))
    assert stored(engine)[1] == (60, 6)


def test_autocommit_takes_one_object_and_no_more(engine):
    """One statement needs no transaction; of several some would stay written, and a claim would be over at once."""
    with Session(engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
        wallets = [session.get(Wallet, number) for number in (1, 2)]
        with pytest.raises(InvalidRequestError, match="AUTOCOMMIT"):
            claim(session, Wallet, 1, lease_of(5))
        wallets[0].balance = 50
        fenced(session, wallets[0], lease_of(5))
        wallets[0].balance = wallets[1].balance = 40
        with pytest.raises(InvalidRequestError, match="AUTOCOMMIT"):
            fenced(session, wallets[0], lease_of(5))
    assert stored(engine) == {1: (50, 5), 2: (100, 0), 3: (100, 0)}


def test_an_engine_with_options_and_the_one_behind_it_may_both_be_used(engine):
    """What the one is told the other hears too, and is to count once."""
    for fence, each in enumerate((engine, engine.execution_options(logging_token="again"), engine), start=5):
        with Session(each) as session:
            session.get(Wallet, 1).balance = fence
            fenced(session, session.get(Wallet, 1), lease_of(fence))
            wallet = session.get(Wallet, 1)
            wallet.balance = 10 * fence
            fenced(session, wallet, lease_of(fence))
            session.commit()
    assert stored(engine)[1] == (70, 7)
