"""Rows of a Django model in several databases."""

from __future__ import annotations

import pytest
from django.db import transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import override_settings

from celery_locks import StaleFence
from celery_locks.fencing.django import fenced
from tests.fencing import bank
from tests.fencing.bank.accounts import accounts, stored
from tests.fencing.bank.models import Account, Owner
from tests.fencing.leases import lease_of

pytestmark = pytest.mark.usefixtures("bank_database")


@pytest.fixture
def other(tmp_path):
    """A second database."""
    with bank.served(f"sqlite://{tmp_path}/other.db", "other"):
        bank.make_tables(Owner, Account, alias="other")
        yield


class ToTheOther:
    def db_for_write(self, *_, **__):
        return "other"

    def allow_relation(self, *_, **__):
        return True


@pytest.mark.usefixtures("other")
def test_a_router_says_where_is_written():
    """And there the fence is, and is compared; a claim reads there too."""
    (mine,) = accounts(6, balance=1)
    Account.objects.using("other").create(pk=mine.pk, fence=4)
    with override_settings(DATABASE_ROUTERS=[ToTheOther()]):
        fenced(mine, lease_of(5))
        assert Account.objects.fenced_update(lease_of(5), label="new") == 1
        with transaction.atomic(using="other"):
            assert Account.objects.claim(lease_of(5), label="new").balance == 1
        with pytest.raises(StaleFence):
            Account.objects.fenced_update(lease_of(4), label="newer")
    assert stored() == [(1, 6)]


@pytest.mark.usefixtures("other")
def test_each_database_has_fences_of_its_own():
    """A row is written where it was read, or where `using()` says. A refusal undoes the transaction there."""
    (mine,) = accounts(6)
    theirs = Account.objects.using("other")
    theirs.create(pk=mine.pk, fence=4)
    assert theirs.fenced_update(lease_of(5), balance=10) == 1
    with transaction.atomic(using="other"):
        there = theirs.claim(lease_of(5), pk=mine.pk)
    with transaction.atomic(), pytest.raises(TransactionManagementError, match="claim"):
        theirs.claim(lease_of(5), pk=mine.pk)
    fenced(there, lease_of(5))
    with transaction.atomic(), transaction.atomic(using="other"):
        theirs.update(label="ghost")
        mine.save()
        with pytest.raises(StaleFence):
            fenced(there, lease_of(4))
    assert theirs.get().label == ""
    assert stored() == [(0, 6)]
