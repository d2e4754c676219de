"""Under which lease an instance is written to a Django database."""

from __future__ import annotations

import pytest
from django.db import transaction

from celery_locks import LockConfigError, LockError, LockLost, LockNotOwned, Locks
from celery_locks.fencing import FenceWarning
from celery_locks.fencing.django import fenced
from tests.fencing.bank.accounts import account, row_of
from tests.fencing.bank.models import Account, Owner, Vault
from tests.fencing.leases import lease_of

pytestmark = pytest.mark.usefixtures("bank_database")


def test_the_lease_of_the_running_job_is_the_default():
    """A job changes by one line."""
    mine = account()
    fence = Locks("memory://").run("wallet", lambda: fenced(mine) or mine.fence)
    assert row_of(mine) == (0, fence)
    with pytest.raises(LockError, match="hand it to the guard"):
        fenced(mine)


def test_a_lease_that_is_over_writes_nothing():
    """What is known here needs no question."""
    mine, lease = account(), lease_of(5)
    lease.lose("its ttl ran out")
    mine.balance = 10
    with pytest.raises(LockLost):
        fenced(mine, lease)
    assert row_of(mine) == (0, None)


def test_a_lease_of_another_key_is_refused():
    """A model says which key guards a row."""
    mine = Vault.objects.create(owner=7)
    fenced(mine, lease_of(5, key="vault:7"))
    with pytest.raises(LockNotOwned, match=r"'vault:7'.*'vault:8'"):
        fenced(mine, lease_of(6, key="vault:8"))
    assert Vault.objects.get().fence == 5


@pytest.mark.parametrize("wrong", [Owner, list, lambda: Account, Account.objects.all])
def test_what_has_no_fence_is_refused(wrong):
    """With what to do."""
    with pytest.raises(TypeError, match=r"give the model the base class Fenced.*fenced_update"):
        fenced(wrong(), lease_of(5))


WAYS = {
    "save": lambda lease: fenced(account(), lease),
    "update": lambda lease: Account.objects.fenced_update(lease, balance=1),
    "update some": lambda lease: Account.objects.filter(balance=0).fenced_update(lease, balance=1),
    "claim": lambda lease: Account.objects.claim(lease, pk=account().pk),
    "claim some": lambda lease: Account.objects.filter(balance=0).claim(lease, pk=account().pk),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_fence_that_may_go_down_is_warned_of_where_it_is_used(way):
    """The warning points to the line that writes."""
    lease = lease_of(5)
    lease.caveat = "nodes without persistence"
    with transaction.atomic(), pytest.warns(FenceWarning, match="nodes without persistence") as caught:
        way(lease)
    assert [(each.filename, each.lineno) for each in caught] == [(__file__, way.__code__.co_firstlineno)]


@pytest.mark.parametrize("template", ["account:{nobody}", "account:{", "account:{savings}"])
def test_a_key_that_is_not_made_of_columns_is_an_error_of_the_model(monkeypatch, template):
    """Django's checks say so, before there is a job; a job is told the same."""
    monkeypatch.setattr(Account, "__fence_key__", template)
    (found,) = Account.check()
    assert found.id == "celery_locks.E001"
    with pytest.raises(LockConfigError, match=r"Account.__fence_key__ .* is not made of columns of the model"):
        fenced(Account(), lease_of(5))


def test_a_key_that_is_made_of_columns_is_none():
    """Nor is none at all."""
    assert Vault.check() == Account.check() == []
