"""How a mistake with Redis must be said: one line, with its mend, without the password."""

from __future__ import annotations

import contextlib
import gc
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.stores import open_store
from tests.stores.contract.asking import claim
from tests.stores.redis_stores import within_reason

if TYPE_CHECKING:
    from collections.abc import Iterator


SECRET = "s3cr3t"


def is_one_clean_line(error: BaseException, *secrets: str) -> None:
    """One line, and no password in it, nor in anything that a log would show of it."""
    assert str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 600
    shown = _all_texts(error)
    assert not [secret for secret in (SECRET, *secrets) if secret in shown]


def _all_texts(error: BaseException) -> str:
    # Without the lines of code, where a test has its passwords.
    parts: list[Any] = [line for line in traceback.format_exception(error) if not line.startswith("  File")]
    return "".join([*parts, repr(error)])


def refusal_of(url: str) -> str:
    """What a store says that cannot be had, soon and in one line without a password."""
    with contextlib.closing(open_store(url)) as store:
        with pytest.raises(StoreUnavailable) as caught, within_reason():
            store.acquire(claim("wallet"))
        is_one_clean_line(caught.value)
    return str(caught.value)


@contextlib.contextmanager
def unclosed() -> Iterator[None]:
    """redis-py 5.0 forgets to close a unix socket that it could not connect: that is heard here and nowhere else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()
