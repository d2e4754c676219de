"""Accounts of the bank, made with a fence, and what is stored of them."""

from __future__ import annotations

from typing import Any

from tests.fencing.bank.models import Account


def account(fence: int | None = None, **values: Any) -> Account:
    return Account.objects.create(fence=fence, **values)


def accounts(*fences: int | None, **values: Any) -> list[Account]:
    return [account(fence, **values) for fence in fences]


def labelled(label: str) -> Any:
    return Account.objects.filter(label=label)


def row_of(instance: Account) -> tuple[int, int | None]:
    """Balance and fence of one."""
    return Account.objects.values_list("balance", "fence").get(pk=instance.pk)


def stored(model: Any = Account) -> list[tuple[int, int | None]]:
    """Balance and fence of each."""
    return [*model.objects.order_by("pk").values_list("balance", "fence")]
