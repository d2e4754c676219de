"""How a job's arguments are bound: as the call itself would."""

from __future__ import annotations

import functools
import inspect

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from celery_locks.digest import digest
from celery_locks.keys import Arguments
from tests.unit.keymaking import anything, key, maker, mixed, nothing, one, positional_only, withdraw

quietly = settings(max_examples=80, deadline=None, derandomize=True, database=None)


def defaults(a, b=2, c=None): ...


def keywords_only(*, a, b=2): ...


FUNCTIONS = [withdraw, positional_only, mixed, defaults, nothing, anything, keywords_only]


NAMES = ["a", "b", "c", "d", "e", "user_id", "amount", "note", "other"]


def by_inspect(function, args, kwargs) -> dict:
    """What the standard library binds, with **kwargs spread out."""
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    found = dict(bound.arguments)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            found.update(found.pop(parameter.name))
    return found


@quietly
@given(
    st.sampled_from(FUNCTIONS),
    st.lists(st.integers(0, 9), max_size=4),
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 9), max_size=4),
)
def test_binding_is_what_the_call_itself_would_bind(function, args, kwargs):
    """Any call binds as `inspect.signature` binds it, and one that cannot be made raises `TypeError`."""
    assume(not (function is mixed and "a" in kwargs))  # a name twice: see below
    try:
        expected = by_inspect(function, args, kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            Arguments.of(function, bound=False).bind(args, kwargs)
    else:
        assert Arguments.of(function, bound=False).bind(args, kwargs) == expected


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((1, 10), {}), ((1,), {"amount": 10}), ((), {"user_id": 1, "amount": 10}), ((1,), {}), ([1], {"note": ""})],
    ids=repr,
)
def test_the_same_call_written_differently_is_the_same(args, kwargs):
    """Positional or keyword, a default omitted or spelt out: one set of arguments, one digest."""
    bound = Arguments.of(withdraw, bound=False).bind(args, kwargs)
    assert bound == {"user_id": 1, "amount": 10, "note": ""}
    assert digest(bound) == digest({"user_id": 1, "amount": 10, "note": ""})


def test_a_bound_task_does_not_count_its_self():
    """Of a function that is still to be bound the first argument is the task."""

    def job(self, user_id): ...

    assert Arguments.of(job, bound=True).names == ["user_id"]


def test_a_bound_task_that_takes_anything_loses_nothing():
    """`*args` may take the task as well: nothing is dropped."""
    assert Arguments.of(anything, bound=True).names == ["args", "kwargs"]


def test_a_wrapped_function_is_known_by_the_one_it_wraps():
    """A decorator made with `functools.wraps` does not hide the arguments."""

    @functools.wraps(withdraw)
    def wrapper(*args, **kwargs): ...

    assert Arguments.of(wrapper, bound=False).names == ["user_id", "amount", "note"]


def test_a_missing_argument_is_the_calls_own_error():
    """A job sent without its argument fails as the call would."""
    with pytest.raises(TypeError, match=r"bank.withdraw\(\): missing a required argument: 'user_id'"):
        maker("wallet:{user_id}")((), {})


def test_a_superfluous_argument_is_the_calls_own_error():
    """A job sent with too much fails as the call would."""
    with pytest.raises(TypeError, match="too many positional arguments"):
        maker("wallet:{user_id}")((1, 2, 3), {})


@pytest.mark.parametrize("function", [withdraw, one], ids=["keyword-only", "plain"])
def test_an_argument_given_twice_is_the_calls_own_error(function):
    """Positional and keyword at once is refused, not guessed."""
    with pytest.raises(TypeError, match="multiple values for argument 'user_id'"):
        maker("wallet:{user_id}", function)((1,), {"user_id": 2})


def test_a_keyword_named_like_a_positional_only_argument_is_another_one():
    """`f(1, a=2)` and `f(3, a=2)` are different calls of `f(a, /, **more)`."""

    def f(a, /, **more): ...

    assert key("{args}", f, 1, a=2) != key("{args}", f, 3, a=2)
    assert key("{a}", f, 1, a=2) == "1"


def test_a_keyword_named_like_the_star_arguments_is_another_one():
    """`f(1, rest=2)` and `f(3, rest=2)` are different calls of `f(*rest, **more)`."""

    def f(*rest, **more): ...

    assert key("{args}", f, 1, rest=2) != key("{args}", f, 3, rest=2)


def test_a_collection_is_not_a_keyword_of_its_name():
    """`f(1, a=2)` and `f(1, more={"a": 2})` are different calls of `f(a, /, **more)`."""

    def f(a, /, **more): ...

    assert key("{args}", f, 1, a=2) != key("{args}", f, 1, more={"a": 2})


def test_a_keyword_argument_is_none_of_its_own_collection():
    """`f(a, **more)` called with `more=...` keeps what it was given."""

    def f(a, **more): ...

    assert key("{args}", f, 1, more=1) != key("{args}", f, 1, more=2)
