"""Two holders in transactions that meet at a row: the database decides, whoever comes first."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connection, transaction
from psycopg import IsolationLevel

from celery_locks import StaleFence
from celery_locks.fencing.django import fenced
from tests.fencing import bank
from tests.fencing.bank.models import Account, House, Owner, Savings
from tests.fencing.leases import lease_of
from tests.servers.databases import WAITING_FOR_ROWS
from tests.waiting import wait_until

ROWS_ARE_LOCKED = pytest.mark.parametrize("bank_url", ["postgres", "mariadb"], indirect=True)


def saved(model, column, **options):
    def write(fence, value):
        mine = model.objects.get()
        setattr(mine, column, value)
        fenced(mine, lease_of(fence), **options)

    return model, column, write


def updated(model, column, **lookup):
    def write(fence, value):
        found = {name: model.objects.get().pk if wanted == "its" else wanted for name, wanted in lookup.items()}
        assert model.objects.filter(**found).fenced_update(lease_of(fence), **{column: value}) == 1

    return model, column, write


def claimed(model, column, **lookup):
    def write(fence, value):
        mine = model.objects.claim(lease_of(fence), **lookup)
        setattr(mine, column, value)
        mine.save()

    return model, column, write


WAYS = {
    "save": saved(Account, "balance"),
    "save some": saved(Account, "balance", update_fields=["balance"]),
    "save a child": saved(Savings, "interest"),
    "save a parent": saved(House, "price"),
    "update a row": updated(Account, "balance", pk="its"),
    "update rows": updated(Account, "balance", label="a"),
    "update by another table": updated(Account, "balance", owner__name="Ann"),
    "update a child": updated(Savings, "interest", label="b"),
    "update a parent": updated(House, "price", rooms=1),
    "claim": claimed(Account, "balance", label="a"),
    "claim by another table": claimed(Account, "balance", owner__name="Ann"),
    "claim a child": claimed(Savings, "interest"),
}


@pytest.fixture(params=WAYS)
def way(request, bank_database):  # noqa: ARG001 - it is empty then
    """A way to write, and a row to write to."""
    model, column, write = WAYS[request.param]
    row = {Account: {"label": "a"}, Savings: {"label": "b"}, House: {"rooms": 1}}[model]
    owner = {} if model is House else {"owner": Owner.objects.create(name="Ann")}
    model.objects.create(fence=4, **row, **owner)
    return lambda: model.objects.values_list(column, "fence").get(), write


@contextlib.contextmanager
def in_its_own_thread(work, *arguments):
    """Do it there, in a transaction; give its future."""

    def run():
        with bank.own_connection(), transaction.atomic():
            return work(*arguments)

    with ThreadPoolExecutor(1) as threads:
        yield threads.submit(run)


@contextlib.contextmanager
def meeting(url, write, first, second):
    """The first writes, the second waits for its row; what ends the block ends the transaction of the first."""
    with contextlib.ExitStack() as stack, transaction.atomic():
        write(first, first)
        future = stack.enter_context(in_its_own_thread(write, second, second))
        wait_until(lambda: waiting(url) or future.done(), "the second to wait for the first's row")
        assert not future.done()
        yield future


def waiting(url):
    with bank.served(url, "witness"), bank.connections["witness"].cursor() as cursor:
        cursor.execute(WAITING_FOR_ROWS[connection.vendor])
        return int(cursor.fetchone()[-1])


@ROWS_ARE_LOCKED
def test_a_stale_holder_that_waited_is_refused(way, bank_url):
    """It found a lower fence when it came, and the newer one when the other had committed."""
    stored, write = way
    with meeting(bank_url, write, 6, 5) as stale:
        pass
    with pytest.raises(StaleFence):
        stale.result(10)
    assert stored() == (6, 6)


@ROWS_ARE_LOCKED
def test_a_holder_is_not_stale_if_the_newer_one_gave_up(way, bank_url):
    """What was rolled back has never been."""
    stored, write = way
    with meeting(bank_url, write, 6, 5) as other:
        transaction.set_rollback(True)
    other.result(10)
    assert stored() == (5, 5)


@ROWS_ARE_LOCKED
def test_the_newer_holder_waits_for_the_older(way, bank_url):
    """And writes over it; then the older is stale."""
    stored, write = way
    with meeting(bank_url, write, 5, 6) as newer:
        pass
    newer.result(10)
    assert stored() == (6, 6)
    with pytest.raises(StaleFence):
        write_alone(write, 5)
    assert stored() == (6, 6)


def write_alone(write, fence):
    with transaction.atomic():
        write(fence, fence)


def test_one_after_the_other(way):
    """On every database: the older is refused, whatever way it writes."""
    stored, write = way
    write_alone(write, 6)
    with pytest.raises(StaleFence):
        write_alone(write, 5)
    write_alone(write, 7)
    assert stored() == (7, 7)


@pytest.fixture
def repeatable(bank_url, bank_database):
    """The same database at REPEATABLE READ."""
    level = "repeatable read" if bank_database == "mysql" else IsolationLevel.REPEATABLE_READ
    with bank.served(bank_url, isolation_level=level):
        yield


@ROWS_ARE_LOCKED
@pytest.mark.usefixtures("repeatable")
def test_an_old_snapshot_hides_no_refusal(way):
    """A transaction that sees the row as it was hears of the newer holder: from us, or from a database that looks."""
    stored, write = way
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises((StaleFence, OperationalError)))
        with transaction.atomic():
            assert stored() == (0, 4)
            with in_its_own_thread(write, 6, 6) as newer:
                newer.result(10)
            assert stored() == (0, 4)
            write(5, 5)
    assert stored() == (6, 6)


@pytest.mark.parametrize("bank_url", ["mariadb"], indirect=True)
@pytest.mark.usefixtures("repeatable")
def test_a_claim_reads_what_is_there_and_not_its_snapshot():
    """Also where it finds its own fence there, and so changes nothing."""
    Account.objects.create(fence=5)
    with transaction.atomic():
        assert Account.objects.get().balance == 0
        with in_its_own_thread(lambda: Account.objects.fenced_update(lease_of(5), balance=10)) as other:
            other.result(10)
        assert Account.objects.get().balance == 0
        assert Account.objects.claim(lease_of(5)).balance == 10


@pytest.mark.parametrize("bank_url", ["mariadb"], indirect=True)
@pytest.mark.usefixtures("repeatable")
def test_a_row_that_is_gone_is_gone_in_an_old_snapshot_too():
    """It is missing, and not stale."""
    mine = Account.objects.create(fence=5)
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(Account.DoesNotExist))
        with transaction.atomic():
            assert Account.objects.exists()
            with in_its_own_thread(Account.objects.all().delete) as other:
                other.result(10)
            assert Account.objects.exists()
            fenced(mine, lease_of(5))
