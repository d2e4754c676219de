"""What a message shows of a URL: never a password, wherever it stands and however it is misspelt."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from celery_locks import LockConfigError, Locks
from celery_locks.options import Options
from celery_locks.stores import hidden, open_store

# Derandomized and without a database: a unit test neither surprises nor writes.
quietly = settings(max_examples=25, deadline=None, derandomize=True, database=None)

SHOWN = [
    ("redis://localhost", "'redis://localhost'"),
    ("redis://host:6379/0", "'redis://host:6379/0'"),
    ("redis://[::1]:6379/0", "'redis://[::1]:6379/0'"),
    ("redis+sentinel://a,b:26379/mymaster/0", "'redis+sentinel://a,b:26379/mymaster/0'"),
    ("file:///var/lib/locks", "'file:///var/lib/locks'"),
    ("memory://", "'memory://'"),
    ("redis://:pw@host/0", "'redis://***@host/0'"),
    ("redis://user:pw@host/0", "'redis://***@host/0'"),
    ("redis://pw@host", "'redis://***@host'"),
    ("redis://:p/w@host:6379/0", "'redis://***@host:6379/0'"),
    ("redis://:p@w@host/0", "'redis://***@host/0'"),
    ("redis://user:1234?x@host", "'redis://***'"),
    ("redis://user:1234#x@host", "'redis://***'"),
    ("redis://host?password=p@w", "'redis://***'"),
    ("redis://:pw", "'redis://***'"),
    ("redis://user:pw/0", "'redis://***'"),
    ("redis://:pw%40host/0", "'redis://***'"),
    ("redis://host/0?password=pw", "'redis://host/0?***'"),
    ("rediss://host?db=1&ssl_password=pw", "'rediss://host?***'"),
    ("redis://host/0#pw", "'redis://host/0#***'"),
    ("sentinel://:pw@one;sentinel://:pw@two", "'sentinel://***@two'"),
    ("user:pw@host", "'***@host'"),
    ("redis:/user:pw", "'***'"),
    ("redis//:pw@host", "'***@host'"),
    ("me:pw@redis://host", "'***@redis://host'"),
    ("redis://host\nredis://:pw@host", "'redis://***@host'"),
    ("localhost", "'localhost'"),
    ("not there", "'not there'"),
    ("", "''"),
    (None, "None"),
    (7, "7"),
    (b"redis://:pw@host", "a bytes"),
    (["redis://:pw@host"], "a list"),
    ({"fast": "redis://:pw@host"}, "a dict"),
]


@pytest.mark.parametrize(("url", "text"), SHOWN, ids=[repr(url) for url, _ in SHOWN])
def test_a_url_is_shown_without_its_secrets(url, text):
    """What can be told apart from a login and an option is shown, the rest is not."""
    assert hidden(url) == text


class App:
    """As much of an app as settings are read from."""

    def __init__(self, **conf: object) -> None:
        self.conf = conf


OPENED = {
    "open_store": open_store,
    "Locks": Locks,
    "the app's store": lambda url: Locks.from_app(App(lock_store=url)),
    "a task's store": lambda url: Locks.from_app(App(), url),
    "an alias": lambda url: Locks.from_app(App(lock_stores={"fast": url}), "fast"),
    "another alias": lambda url: Locks.from_app(App(lock_stores={url: "memory://"}), "fast"),
    "an alias of nothing": lambda url: Locks.from_app(App(lock_stores={url: 7}), url),
    "an alias of a list": lambda url: Locks.from_app(App(lock_stores={"fast": [url]}), "fast"),
    "a map of another kind": lambda url: Locks.from_app(App(lock_stores=[url]), "fast"),
    "a text for a map": lambda url: Locks.from_app(App(lock_stores=f"fast={url}"), "fast"),
    "a broker behind Sentinel": lambda url: Locks.from_app(App(broker_url=f"sentinel://{url}")),
    "an option": lambda url: Options.made({"lock_store": [url]}, where="task t"),
}
BEGINNINGS = ["memory://", "file://", "file:///", "reddis://", "etcd://", "nothing://", "redis:/", "redis//", ""]
LOGINS = ["{}@host/0", ":{}@host:6379/0", "user:{}@host", "user:{}@/var/locks", "user:{}@host/0?fence_retention=0"]
QUERIES = ["host?password={}", "/var/locks?token={}", "host/0?db=1&ssl_password={}", "/var/locks?a=1&password={}"]
#: What a password may have in it that means something in a URL.
MARKS = ["", "/", "?", "#", "@", ":", "&", "=", ";", ",", "%", "[", "]", "//", "://", " ", "\n", "'", "ü"]


def refusal(opened, url: str) -> LockConfigError | None:
    """What is said of a URL that cannot be opened."""
    try:
        opened(url)
    except LockConfigError as error:
        return error
    return None


def passwords() -> st.SearchStrategy[str]:
    """Two halves with a mark between them, and one before and behind."""
    marks = st.sampled_from(MARKS)
    return st.tuples(marks, marks, marks).map(lambda each: f"{each[0]}s3cr3t{each[1]}Pa55{each[2]}")


@quietly
@given(st.sampled_from(BEGINNINGS), st.sampled_from(LOGINS + QUERIES), passwords())
@example("file:///", "user:{}@host", "s3cr3t?Pa55")
@example("file:///", "user:{}@host/0?fence_retention=0", "s3cr3tPa55")
@example("file://", "{}@host/0", "/s3cr3t?Pa55&")
@example("memory://", "host?password={}", "s3cr3t@Pa55")
def test_no_error_shows_a_password(beginning, form, password):
    """Whoever opens a store, and whatever is wrong with its URL: neither half of the password is said."""
    for place, opened in OPENED.items():
        error = refusal(opened, beginning + form.format(password))
        said = f"{error!r} {error and (error.__cause__, error.__context__)!r}"
        assert not [half for half in ("s3cr3t", "Pa55") if half in said], place
        assert "\n" not in str(error)


def test_every_way_in_was_refused_something():
    """Else the fact above would be none: each of them has an error to show."""
    wrong = [each + form.format("pw") for each, form in itertools.product(BEGINNINGS, LOGINS + QUERIES)]
    assert [place for place, opened in OPENED.items() if not any(refusal(opened, url) for url in wrong)] == []
