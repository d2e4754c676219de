"""What a job that caught the guard's error can still commit: nothing of what it was to write."""

from __future__ import annotations

import contextlib

import pytest
from django.db import transaction

from celery_locks import LockLost
from celery_locks.fencing.django import fenced
from tests.fencing.bank.models import Account
from tests.fencing.leases import lease_of

pytestmark = pytest.mark.usefixtures("bank_database")


def over():
    lease = lease_of(5)
    lease.lose("it is a test")
    return lease


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
