"""The digest of a job's arguments: equal for equal ones, also after JSON; different for different ones."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import itertools
import uuid
import zoneinfo
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu.utils import json

from celery_locks import LockConfigError
from celery_locks.digest import digest

# Derandomized and without a database: a unit test neither surprises nor writes.
quietly = settings(max_examples=20, deadline=None, derandomize=True, database=None)


class Colour(enum.Enum):
    RED = "red"


class Shade(str, enum.Enum):
    DARK = "dark"


class Size(enum.IntEnum):
    LARGE = 3


class Point(NamedTuple):
    x: int
    y: int


CET = dt.timezone(dt.timedelta(hours=1))


def after_json(arguments):
    return json.loads(json.dumps(arguments))


TRAVELLERS = [
    (1, 2),
    [(1, (2, 3)), {"a": (4,)}],
    Point(1, 2),
    dt.date(2026, 3, 1),
    dt.datetime(2026, 3, 1, 12, 30),  # noqa: DTZ001 - users pass naive ones
    dt.datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=dt.timezone.utc),
    dt.datetime(2026, 3, 1, 12, 30, tzinfo=CET),
    dt.datetime(2026, 7, 1, 12, 30, tzinfo=zoneinfo.ZoneInfo("UTC")),
    dt.time(12, 30),
    dt.time(12, 30, tzinfo=CET),
    uuid.UUID("12345678-1234-5678-1234-567812345678"),
    uuid.uuid1(),
    decimal.Decimal("12.50"),
    decimal.Decimal("1E+3"),
    Shade.DARK,
    Size.LARGE,
    b"plain",
    b"\xff\x00",
    {1: "a", 2: "b"},
    {None: 1, True: 2, 1.5: 3},
    {"b": 1, "a": 2},
    {"nested": [{"when": dt.date(2026, 3, 1), "who": (uuid.UUID(int=7), Shade.DARK)}]},
    collections.OrderedDict(z=1, a=2),
    collections.defaultdict(list, {3: [1]}),
    0.1,
    1e300,
    10**30,
    "Grüße, 東京 🎉",
    "",
    None,
    True,
]


@pytest.mark.parametrize("value", TRAVELLERS, ids=repr)
def test_a_trip_through_json_changes_no_digest(value):
    """A job called directly and the same job from the queue have one digest."""
    assert digest({"value": value}) == digest(after_json({"value": value}))


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


#: Letters that are written differently in JSON. All of Unicode would do as well, but takes seconds to be listed.
letters = "aB0 _-.,:[]{}\"'\\/\n\t\x00\x1f\x7f\x80é\u2028\ufeff東\uffff🎉"
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(letters, max_size=8)
    | st.dates()
    | st.datetimes(timezones=st.just(dt.timezone.utc) | st.none())
    | st.times()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.binary(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(letters, max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=4,
)
arguments = st.dictionaries(st.text(letters, min_size=1, max_size=3), values, max_size=3)


@quietly
@given(arguments)
def test_any_arguments_keep_their_digest_through_json(given_arguments):
    """For whatever arguments kombu can carry, the digest is the same on both sides."""
    assert digest(given_arguments) == digest(after_json(given_arguments))


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab,[{", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=1), inner, max_size=2),
    max_leaves=4,
)


@quietly
@given(st.dictionaries(st.sampled_from("ab"), plain), st.dictionaries(st.sampled_from("ab"), plain))
def test_arguments_have_one_digest_if_and_only_if_they_are_equal(one, other):
    """Digests are equal exactly where the JSON of the arguments is."""
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(one) == digest(other)) is same
