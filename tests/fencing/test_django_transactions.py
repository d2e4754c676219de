"""What a refused `fenced(instance)` undoes in a Django database."""

from __future__ import annotations

import contextlib

import pytest
from django.core.handlers.base import BaseHandler
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError

from celery_locks import StaleFence
from celery_locks.fencing.django import fenced
from tests.fencing.bank.accounts import account, row_of
from tests.fencing.bank.models import Account
from tests.fencing.leases import lease_of

pytestmark = pytest.mark.usefixtures("bank_database")


def test_a_refusal_undoes_the_transaction():
    """Whoever catches it and goes on can do nothing more, and commits nothing of what came before."""
    mine, other = account(fence=6), account()
    with transaction.atomic():
        other.balance = 10
        other.save()
        with pytest.raises(StaleFence):
            fenced(mine, lease_of(5))
        with pytest.raises(TransactionManagementError):
            Account.objects.count()
    assert row_of(other) == (0, None)


def test_a_savepoint_bounds_a_refusal():
    """What was done around it is committed."""
    mine, other, inside = account(fence=6), account(), account()
    with transaction.atomic():
        fenced(other, lease_of(5))
        with contextlib.suppress(StaleFence), transaction.atomic():
            fenced(inside, lease_of(5))
            fenced(mine, lease_of(5))
    assert [row_of(each) for each in (mine, other, inside)] == [(0, 6), (0, 5), (0, None)]


def test_a_block_without_a_savepoint_is_undone_with_the_one_around_it():
    """As Django does with any error."""
    mine, other = account(fence=6), account()
    with transaction.atomic():
        fenced(other, lease_of(5))
        with pytest.raises(StaleFence), transaction.atomic(savepoint=False):
            fenced(mine, lease_of(5))
    assert row_of(other) == (0, None)


def test_a_request_is_undone_as_a_whole(monkeypatch):
    """With ATOMIC_REQUESTS, also where its view swallows the refusal."""
    mine, other = account(fence=6), account()

    def view(_request):
        fenced(other, lease_of(5))
        with contextlib.suppress(StaleFence):
            fenced(mine, lease_of(5))
        return "done"

    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", value=True)
    assert BaseHandler().make_view_atomic(view)(None) == "done"
    assert row_of(other) == (0, None)
