"""Rows of a Django model that are claimed, and what a job may do with them then."""

from __future__ import annotations

import contextlib

import pytest
from django.db import transaction
from django.db.transaction import TransactionManagementError

from celery_locks import StaleFence
from tests.fencing.bank.accounts import accounts, stored
from tests.fencing.bank.models import Account, House, Owner, Savings
from tests.fencing.leases import lease_of

pytestmark = pytest.mark.usefixtures("bank_database")


def test_a_claim_puts_the_fence_there_and_reads():
    """What was read before by a stale holder is worth nothing any more."""
    (mine,) = accounts(4, balance=10)
    with transaction.atomic():
        claimed = Account.objects.claim(lease_of(6), pk=mine.pk)
    assert (claimed.balance, claimed.fence) == (10, 6)
    with pytest.raises(StaleFence), transaction.atomic():
        Account.objects.claim(lease_of(5), pk=mine.pk)


@pytest.mark.parametrize("lookup", [{"balance": 10}, {"owner__name": "Ann"}], ids=str)
def test_a_claim_finds_its_row_as_get_does(lookup):
    """By any lookup; more than one row are as many too many, and have no fence then."""
    ann = Owner.objects.create(name="Ann")
    accounts(4, balance=10, owner=ann)
    with transaction.atomic():
        assert Account.objects.select_related("owner").claim(lease_of(5), **lookup).owner == ann
    accounts(4, balance=10, owner=ann)
    with pytest.raises(Account.MultipleObjectsReturned), transaction.atomic():
        Account.objects.claim(lease_of(6), **lookup)
    assert stored() == [(10, 5), (10, 4)]


def test_a_claim_of_what_is_not_there_undoes_nothing():
    """A job may make the row then, in the same transaction."""
    with transaction.atomic():
        with pytest.raises(Account.DoesNotExist, match="Account matching query does not exist"):
            Account.objects.claim(lease_of(5), pk=1)
        accounts(5)
    assert stored() == [(0, 5)]


def test_a_claim_of_a_child_and_of_a_parent_is_one_of_its_row():
    """Wherever the fence is."""
    Savings.objects.create(balance=3)
    House.objects.create(price=4)
    with transaction.atomic():
        assert Savings.objects.claim(lease_of(5), interest=0).balance == 3
        assert House.objects.claim(lease_of(5), rooms=0).price == 4
    for model in (Savings, House):
        assert model.objects.get().fence == 5


def test_what_follows_a_claim_is_guarded_by_it():
    """Deleting, `bulk_update` and other tables: a refused claim lets none of it happen."""
    (mine,) = accounts(6)
    with contextlib.suppress(StaleFence), transaction.atomic():
        Owner.objects.create(name="ghost")
        Account.objects.claim(lease_of(5), pk=mine.pk).delete()
    assert stored() == [(0, 6)]
    with transaction.atomic():
        Account.objects.claim(lease_of(6), pk=mine.pk).delete()
    assert not Account.objects.exists()
    assert not Owner.objects.exists()


def test_a_claim_outside_of_a_transaction_is_refused():
    """Nobody would hold the row; the error says what to do. Nothing was written."""
    (mine,) = accounts(4)
    with pytest.raises(TransactionManagementError, match=r"with transaction.atomic\(\)"):
        Account.objects.claim(lease_of(5), pk=mine.pk)
    assert stored() == [(0, 4)]


def test_many_are_claimed_by_an_update_of_nothing():
    """Then they are read."""
    accounts(4, 4)
    with transaction.atomic():
        assert Account.objects.fenced_update(lease_of(5)) == 2
        assert {each.fence for each in Account.objects.all()} == {5}
