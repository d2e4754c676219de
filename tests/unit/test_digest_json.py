"""Digests of arguments before and after a trip through JSON, as a broker sends them on."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import uuid
import zoneinfo
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu.utils import json

from celery_locks.digest import digest

# Derandomized and without a database: a unit test neither surprises nor writes.
quietly = settings(max_examples=20, deadline=None, derandomize=True, database=None)


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
