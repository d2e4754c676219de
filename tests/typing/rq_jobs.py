"""A user's module of RQ jobs: everything here must type-check under `mypy --strict`."""

from __future__ import annotations

from typing_extensions import assert_type

from celery_locks.rq import locked


@locked
def rebuild(user_id: int) -> str:
    return str(user_id)


@locked(key="invoice:{invoice_id}", ttl=60, on_contention="skip")
def send(invoice_id: int, *, copy: bool = False) -> bool:
    return copy and invoice_id > 0


assert_type(rebuild(7), str)
assert_type(send(42, copy=True), bool)
