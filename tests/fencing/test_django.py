"""What `fenced(instance)` writes to a Django database, refuses, and leaves as it was."""

from __future__ import annotations

import pickle

import pytest
from django.db import DatabaseError, connection
from django.db.models import F
from django.db.models.signals import post_save, pre_save

from celery_locks import StaleFence
from celery_locks.fencing.django import fenced
from tests.fencing.bank.accounts import account, row_of
from tests.fencing.bank.models import Account, Asset, House, Joint, Note, Savings
from tests.fencing.leases import lease_of

pytestmark = pytest.mark.usefixtures("bank_database")


LARGEST = 2**63 - 1


@pytest.mark.parametrize("there", [None, 0, 4, 5])
def test_a_fence_that_is_not_lower_is_written_with_the_rest(there):
    """Also where none was before; the instance knows it too."""
    mine = account(there)
    mine.balance = 10
    fenced(mine, lease_of(5))
    assert row_of(mine) == (10, 5)
    assert mine.fence == 5


@pytest.mark.parametrize("there", [6, LARGEST])
def test_a_lower_fence_is_refused(there):
    """The error names the row, both fences and the lock key, and nothing was written."""
    mine = account(there)
    mine.balance = 10
    with pytest.raises(StaleFence, match=rf"bank.Account {mine.pk} .*fence 5 of 'wallet'.*fence {there}") as caught:
        fenced(mine, lease_of(5))
    assert caught.value.key == "wallet"
    assert row_of(mine) == (0, there)


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
    assert row_of(mine) == (10, 5)


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
    assert row_of(mine) == (10, 5)
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
    assert row_of(partly) == (10, 5)


def no_reading(execute, sql, params, many, context):
    assert not sql.startswith("SELECT")
    return execute(sql, params, many, context)


def test_an_expression_is_evaluated_in_the_write():
    """Once, in the database."""
    mine = account(balance=10)
    mine.balance = F("balance") + 5
    fenced(mine, lease_of(5))
    assert row_of(mine) == (15, 5)


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
    assert row_of(mine) == (10, 6)


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


def test_an_error_of_the_database_leaves_no_mark():
    """The next plain save of the instance is a plain one."""
    mine = account(fence=6, label="x")
    mine.label = None
    with pytest.raises(DatabaseError):
        fenced(mine, lease_of(7))
    mine.label, mine.balance = "y", 10
    mine.save()
    assert row_of(mine) == (10, 6)
