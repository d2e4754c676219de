"""Digests of arguments: what they tell apart, and what they refuse."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import itertools
import uuid

import pytest

from celery_locks import LockConfigError
from celery_locks.digest import digest


class Colour(enum.Enum):
    RED = "red"


CET = dt.timezone(dt.timedelta(hours=1))

DISTINCT = [
    None,
    "",
    "null",
    "None",
    0,
    "0",
    False,
    "False",
    "false",
    1,
    "1",
    1.5,
    "1.5",
    [],
    {},
    set(),
    "[]",
    [[]],
    [None],
    [""],
    ["1", "2"],
    ["1,2"],
    [1, 2],
    [2, 1],
    {1, 2},
    {"set": ["1", "2"]},
    {"": {}},
    {"": {"a": 1}},
    {"a": 1},
    {"a": "1"},
    {"a": [1]},
    dt.date(2026, 3, 1),
    "2026-03-01",
    {"date": "2026-03-01"},
    {"": {"date": "2026-03-01"}},
    dt.datetime(2026, 3, 1),  # noqa: DTZ001 - users pass naive ones
    dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc),
    dt.datetime(2026, 3, 1, tzinfo=CET),
    dt.time(12, 30),
    "12:30:00",
    dt.timedelta(seconds=5),
    "5.0",
    5.0,
    decimal.Decimal(5),
    decimal.Decimal("5.0"),
    5,
    "5",
    uuid.UUID(int=5),
    str(uuid.UUID(int=5)),
    b"5",
    "35",
    "5 ",
]


def test_different_values_have_different_digests():
    """No two of these are mixed up, whatever their text."""
    digests = [(digest({"value": value}), value) for value in DISTINCT]
    pairs = itertools.combinations(digests, 2)
    assert [(one[1], other[1]) for one, other in pairs if one[0] == other[0]] == []


def test_where_one_argument_ends_matters():
    """The pair of arguments that collides elsewhere does not collide here."""
    assert digest({"a": "1_b-2", "b": "3"}) != digest({"a": "1", "b": "2_b-3"})


def test_names_matter():
    """The same value under another name is another set of arguments."""
    assert digest({"a": 1}) != digest({"b": 1})


def test_the_order_of_arguments_does_not_matter():
    """Arguments are known by their names."""
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_the_order_of_a_set_does_not_matter():
    """A set is a set, whatever the order in which it is walked."""
    assert digest({"s": {"x", "y", "z"}}) == digest({"s": frozenset({"z", "y", "x"})})


def test_a_plain_enum_is_its_value():
    """An enum's member and the value it travels as are the same."""
    assert digest({"colour": Colour.RED}) == digest({"colour": "red"})


def test_a_digest_is_short_and_plain():
    """It fits any store's key: 32 hexadecimal digits."""
    assert len(digest({"x": "y" * 10_000})) == 32
    assert set(digest({})) <= set("0123456789abcdef")


def test_a_digest_stays_the_same_between_versions():
    """Workers of two versions must agree during a deployment: this one never changes."""
    assert digest({"user_id": 42, "day": dt.date(2026, 3, 1)}) == "b0de49ef898a653c8da2e4a33715178d"


class Order:
    tenant_id = 7


def test_an_object_without_a_stable_text_is_refused():
    """An object whose repr may hold an address has no digest; the error says what to write instead."""
    with pytest.raises(LockConfigError) as caught:
        digest({"order": Order()})
    assert str(caught.value) == (
        "no stable digest can be made of an argument of type Order: name the fields that matter in lock_key, for"
        " example 'tenant:{order.tenant_id}', or use a callable"
    )


def test_an_object_deep_inside_is_refused_too():
    """It is found wherever it hides."""
    with pytest.raises(LockConfigError, match="of type Order"):
        digest({"orders": [{"first": (Order(),)}]})
