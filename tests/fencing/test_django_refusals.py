"""What a job that caught the guard's error can still commit: nothing of what it was to write."""

from __future__ import annotations

import contextlib

import pytest
from django.db import transaction
from django.db.models import Exists, OuterRef, Subquery, Sum
from django.db.models.expressions import RawSQL

from celery_locks import LockLost, LockNotOwned, StaleFence
from celery_locks.fencing.django import fenced
from tests.fencing.bank.models import Account, Vault
from tests.fencing.leases import lease_of, over
from tests.servers.mysql import READS_WHAT_IT_WRITES

pytestmark = pytest.mark.usefixtures("bank_database")


@pytest.mark.parametrize(
    "write",
    [
        lambda mine: fenced(mine, over()),
        lambda mine: Account.objects.filter(pk=mine.pk).fenced_update(over(), balance=10),
        lambda mine: Account.objects.claim(over(), pk=mine.pk),
    ],
    ids=["instance", "rows", "claim"],
)
def test_what_a_lease_that_is_over_was_to_write_is_not_committed(write):
    """Nor what comes with it in the same block, as after any other refusal."""
    mine = Account.objects.create(fence=6)
    with transaction.atomic():
        Account.objects.update(balance=10)
        with contextlib.suppress(LockLost):
            write(mine)
    assert Account.objects.get().balance == 0


def _siblings():
    return Account.objects.filter(label=OuterRef("label"), balance__gt=0).order_by()


@READS_WHAT_IT_WRITES
@pytest.mark.parametrize(
    "rows",
    [
        lambda: Account.objects.filter(Exists(_siblings())),
        lambda: Account.objects.exclude(~Exists(_siblings())),
        lambda: Account.objects.filter(label__in=Account.objects.filter(balance__gt=0).values("label")),
        lambda: Account.objects.annotate(
            total=Subquery(_siblings().values("label").annotate(all=Sum("balance")).values("all"))
        ).filter(total__gt=50),
        lambda: Account.objects.alias(total=RawSQL("(SELECT SUM(balance) FROM bank_account)", ())).filter(total__gt=50),
        lambda: Account.objects.extra(where=["(SELECT SUM(balance) FROM bank_account) > 50"]),
    ],
    ids=["exists", "not-exists", "in", "annotated", "raw", "extra"],
)
def test_rows_that_would_match_no_more_are_all_or_none_written(rows):
    """The write to one row may end what made the other match: it is known before which ones are meant."""
    Account.objects.create(balance=100, fence=0)
    Account.objects.create(balance=0, fence=6)
    with pytest.raises(StaleFence):
        rows().fenced_update(lease_of(5), balance=0)
    assert [*Account.objects.order_by("pk").values_list("balance", "fence")] == [(100, 0), (0, 6)]
    assert rows().fenced_update(lease_of(6), balance=0)


def test_an_instance_does_not_pass_from_one_key_to_another():
    """Its own memory says nothing about which key its row is guarded by: the row does."""
    mine = Vault.objects.create(owner=7)
    mine.owner = 8
    with pytest.raises(LockNotOwned, match=r"'vault:7'.*'vault:8'"):
        fenced(mine, lease_of(5, key="vault:8"))
    assert Vault.objects.get().owner == 7
    mine.refresh_from_db()
    Vault.objects.update(owner=9)
    with pytest.raises(LockNotOwned, match=r"'vault:9'.*'vault:7'"):
        fenced(mine, lease_of(5, key="vault:7"), update_fields=["gold"])
    assert not Vault.objects.get().fence


def test_rows_do_not_pass_from_one_key_to_another():
    """Under the lease of one of them: that of the other says nothing about its fence."""
    Vault.objects.create(owner=7)
    with pytest.raises(LockNotOwned, match=r"owner of bank\.Vault is part of its lock key"):
        Vault.objects.filter(owner=7).fenced_update(lease_of(5, key="vault:7"), owner=8)
    assert Vault.objects.get().owner == 7
