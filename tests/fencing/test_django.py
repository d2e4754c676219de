"""What `fenced(instance)` writes to a Django database, refuses, and leaves as it was."""

from __future__ import annotations

import contextlib
import pickle

import pytest
from django.core.handlers.base import BaseHandler
from django.db import DatabaseError, connection, transaction
from django.db.models import F
from django.db.models.signals import post_save, pre_save
from django.db.transaction import TransactionManagementError

from celery_locks import LockConfigError, LockError, LockLost, LockNotOwned, Locks, StaleFence
from celery_locks.fencing import FenceWarning
from celery_locks.fencing.django import fenced
from tests.fencing.bank.models import Account, Asset, House, Joint, Note, Savings, Vault
from tests.fencing.leases import lease_of

pytestmark = pytest.mark.usefixtures("bank_database")
LARGEST = 2**63 - 1


def account(fence: int | None = None, **values: object) -> Account:
    return Account.objects.create(fence=fence, **values)


def stored(instance: Account) -> tuple[int, int | None]:
    return Account.objects.values_list("balance", "fence").get(pk=instance.pk)


@pytest.mark.parametrize("there", [None, 0, 4, 5])
def test_a_fence_that_is_not_lower_is_written_with_the_rest(there):
    """Also where none was before; the instance knows it too."""
    mine = account(there)
    mine.balance = 10
    fenced(mine, lease_of(5))
    assert stored(mine) == (10, 5)
    assert mine.fence == 5


@pytest.mark.parametrize("there", [6, LARGEST])
def test_a_lower_fence_is_refused(there):
    """The error names the row, both fences and the lock key, and nothing was written."""
    mine = account(there)
    mine.balance = 10
    with pytest.raises(StaleFence, match=rf"bank.Account {mine.pk} .*fence 5 of 'wallet'.*fence {there}") as caught:
        fenced(mine, lease_of(5))
    assert caught.value.key == "wallet"
    assert stored(mine) == (0, there)


def test_a_fence_may_be_as_large_as_the_column():
    """And is compared as a number."""
    mine = account()
    fenced(mine, lease_of(LARGEST))
    with pytest.raises(StaleFence):
        fenced(mine, lease_of(LARGEST - 1))


def test_a_new_instance_is_inserted_with_its_fence():
    """The next of a lower one is refused."""
    mine = Account(balance=10)
    fenced(mine, lease_of(5))
    assert stored(mine) == (10, 5)


def test_a_new_instance_that_names_its_key_is_inserted_once():
    """A second one of that key is a write to the row, and is guarded."""
    fenced(Note(name="a", value="first"), lease_of(5))
    fenced(Note(name="a", value="second"), lease_of(6))
    with pytest.raises(StaleFence):
        fenced(Note(name="a", value="third"), lease_of(5))
    assert Note.objects.get().value == "second"


def test_a_row_that_is_gone_is_not_made_again():
    """It is missing, and not stale."""
    mine = account()
    Account.objects.all().delete()
    with pytest.raises(Account.DoesNotExist, match=f"bank.Account {mine.pk} is gone"):
        fenced(mine, lease_of(5))
    assert not Account.objects.exists()


@pytest.mark.parametrize("options", [{"update_fields": ["balance"]}, {"force_update": True}], ids=str)
def test_what_save_takes_is_taken(options):
    """Named fields alone are written, beside the fence."""
    mine = account(label="old")
    mine.balance, mine.label = 10, "new"
    fenced(mine, lease_of(5), **options)
    assert stored(mine) == (10, 5)
    assert Account.objects.get().label == ("old" if "update_fields" in options else "new")
    with pytest.raises(StaleFence):
        fenced(mine, lease_of(4), **options)


def test_fields_that_were_not_read_are_not_written():
    """Not even read, as the fence may be one of them."""
    account(fence=3, label="old")
    partly = Account.objects.only("balance").get()
    partly.balance = 10
    with connection.execute_wrapper(no_reading):
        fenced(partly, lease_of(5))
    assert stored(partly) == (10, 5)


def no_reading(execute, sql, params, many, context):
    assert not sql.startswith("SELECT")
    return execute(sql, params, many, context)


def test_an_expression_is_evaluated_in_the_write():
    """Once, in the database."""
    mine = account(balance=10)
    mine.balance = F("balance") + 5
    fenced(mine, lease_of(5))
    assert stored(mine) == (15, 5)


def test_it_is_a_save():
    """Its receivers hear of it, and `auto_now` is kept; a receiver may save the instance again, or pickle it."""
    heard = []

    def hear(sender, instance, signal, **_):
        assert b"lease" not in pickle.dumps(instance)
        heard.append((signal, sender, instance.fence))

    mine = account()
    before = mine.changed
    pre_save.connect(hear)
    post_save.connect(hear)
    try:
        fenced(mine, lease_of(5))
    finally:
        pre_save.disconnect(hear)
        post_save.disconnect(hear)
    assert heard == [(pre_save, Account, None), (post_save, Account, 5)]
    assert Account.objects.get().changed > before


def test_a_plain_save_leaves_the_fence_alone():
    """An instance that was read before another wrote does not put the old fence back."""
    mine = account(fence=5)
    fenced(Account.objects.get(), lease_of(6))
    mine.balance = 10
    mine.save()
    mine.save(update_fields=["fence"])
    assert stored(mine) == (10, 6)


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
    assert stored(other) == (0, None)


def test_a_savepoint_bounds_a_refusal():
    """What was done around it is committed."""
    mine, other, inside = account(fence=6), account(), account()
    with transaction.atomic():
        fenced(other, lease_of(5))
        with contextlib.suppress(StaleFence), transaction.atomic():
            fenced(inside, lease_of(5))
            fenced(mine, lease_of(5))
    assert [stored(each) for each in (mine, other, inside)] == [(0, 6), (0, 5), (0, None)]


def test_a_block_without_a_savepoint_is_undone_with_the_one_around_it():
    """As Django does with any error."""
    mine, other = account(fence=6), account()
    with transaction.atomic():
        fenced(other, lease_of(5))
        with pytest.raises(StaleFence), transaction.atomic(savepoint=False):
            fenced(mine, lease_of(5))
    assert stored(other) == (0, None)


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
    assert stored(other) == (0, None)


@pytest.mark.parametrize("named", [None, ["balance"], ["interest"]])
def test_a_child_is_guarded_by_the_fence_of_its_parent(named):
    """Neither table is written to, whichever the fields are in."""
    mine = Savings.objects.create(balance=1, interest=1)
    fenced(mine, lease_of(6), update_fields=named)
    mine.balance = mine.interest = 2
    with pytest.raises(StaleFence):
        fenced(mine, lease_of(5), update_fields=named)
    assert Savings.objects.values_list("balance", "interest", "fence").get() == (1, 1, 6)


@pytest.mark.parametrize("named", [None, ["price"], ["rooms"]])
def test_a_parent_is_guarded_by_the_fence_of_the_child(named):
    """What was written to the parent's table first is undone."""
    mine = House.objects.create(price=1, rooms=1)
    fenced(mine, lease_of(6), update_fields=named)
    mine.price = mine.rooms = 2
    with pytest.raises(StaleFence):
        fenced(mine, lease_of(5), update_fields=named)
    assert House.objects.values_list("price", "rooms", "fence").get() == (1, 1, 6)
    Asset.objects.get().save()


def test_a_proxy_is_its_model():
    """One row, one fence."""
    fenced(Joint.objects.get(pk=account().pk), lease_of(6))
    with pytest.raises(StaleFence, match=r"bank\.Joint"):
        fenced(Joint.objects.get(), lease_of(5))


def test_select_on_save_asks_no_snapshot():
    """The write itself decides, and is the only statement on its table."""
    mine = House.objects.create()
    with connection.execute_wrapper(no_reading):
        fenced(mine, lease_of(6), update_fields=["rooms"])
    assert House.objects.get().fence == 6


def test_the_lease_of_the_running_job_is_the_default():
    """A job changes by one line."""
    mine = account()
    fence = Locks("memory://").run("wallet", lambda: fenced(mine) or mine.fence)
    assert stored(mine) == (0, fence)
    with pytest.raises(LockError, match="hand it to the guard"):
        fenced(mine)


def test_a_lease_that_is_over_writes_nothing():
    """What is known here needs no question."""
    mine, lease = account(), lease_of(5)
    lease.lose("its ttl ran out")
    mine.balance = 10
    with pytest.raises(LockLost):
        fenced(mine, lease)
    assert stored(mine) == (0, None)


def test_a_lease_of_another_key_is_refused():
    """A model says which key guards a row."""
    mine = Vault.objects.create(owner=7)
    fenced(mine, lease_of(5, key="vault:7"))
    with pytest.raises(LockNotOwned, match=r"'vault:7'.*'vault:8'"):
        fenced(mine, lease_of(6, key="vault:8"))
    assert Vault.objects.get().fence == 5


def test_a_fence_that_may_go_down_is_warned_of_where_it_is_used():
    """The warning points to the line that writes."""
    lease = lease_of(5)
    lease.caveat = "nodes without persistence"
    with pytest.warns(FenceWarning, match="nodes without persistence") as caught:
        fenced(account(), lease)
    assert caught[0].filename == __file__


def test_an_error_of_the_database_leaves_no_mark():
    """The next plain save of the instance is a plain one."""
    mine = account(fence=6, label="x")
    mine.label = None
    with pytest.raises(DatabaseError):
        fenced(mine, lease_of(7))
    mine.label, mine.balance = "y", 10
    mine.save()
    assert stored(mine) == (10, 6)


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
