"""Functions of all kinds, and keys made for their calls."""

from __future__ import annotations

import pytest

from celery_locks import LockConfigError
from celery_locks.keys import Arguments, KeyMaker


def withdraw(user_id, amount=10, *, note=""): ...


def one(user_id): ...


def maker(source, function=withdraw) -> KeyMaker:
    return KeyMaker("bank.withdraw", source, Arguments.of(function, bound=False))


def key(source, function, *args, **kwargs) -> str:
    (made,) = keys(source, function, *args, **kwargs)
    return made


def keys(source, function, *args, **kwargs) -> tuple[str, ...]:
    return maker(source, function)(args, kwargs)


def refusal(source, function=withdraw) -> str:
    with pytest.raises(LockConfigError) as caught:
        maker(source, function)
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith("task bank.withdraw: ")
    return caught.value.message.removeprefix("task bank.withdraw: ")


def positional_only(a, b=2, /): ...


def mixed(a, /, b, c=3, *rest, d, e=5, **more): ...


def nothing(): ...


def anything(*args, **kwargs): ...
