"""A user's guard for Django: everything here must type-check under `mypy --strict`. Django itself has no types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import assert_type

from celery_locks import Locks
from celery_locks.fencing.django import Fenced, FencedQuerySet, fenced

if TYPE_CHECKING:
    from celery_locks.lease import Lease


class Wallet(Fenced):
    __fence_key__ = "wallet:{user_id}"


class Wallets(FencedQuerySet[Wallet]):
    pass


def deposit(wallets: Wallets, lease: Lease) -> int:
    assert_type(wallets.claim(user_id=7), Wallet)
    wallet = wallets.claim(lease, user_id=7)
    fenced(wallet)
    fenced(wallet, lease=Locks("memory://").lock("wallet:7"), update_fields=["balance"])
    assert_type(wallets.fenced_update(lease), int)
    return wallets.fenced_update(balance=0)
