"""A task's options: what each takes, and what it says of what it does not take."""

from __future__ import annotations

import dataclasses
import math

import pytest

from celery_locks import Fail, LockConfigError, LockedTask, Requeue, Skip
from celery_locks.options import NAMES, Options, beat_interval


def refusal(**given: object) -> str:
    with pytest.raises(LockConfigError) as caught:
        Options.made(given, where="task bank.withdraw")
    assert "\n" not in caught.value.message
    return caught.value.message


def test_the_defaults_are_the_documented_ones():
    """What a task gets that sets nothing is a contract."""
    assert dataclasses.asdict(Options.made({}, where="task t")) == {
        "key": "{task}",
        "ttl": 30.0,
        "heartbeat": True,
        "wait": 0.0,
        "on_contention": "requeue",
        "countdown": "auto",
        "fair": True,
        "unique": None,
        "unique_ttl": 3600.0,
        "max_requeues": None,
        "max_wait": None,
        "on_lost": "raise",
        "on_outage": "requeue",
        "store": None,
        "slots": 1,
        "shared": False,
        "at_least": 0.0,
    }


def test_a_task_class_shows_the_defaults():
    """Each option is a class attribute of `LockedTask` with its default as value."""
    shown = {name: getattr(LockedTask, name) for name in NAMES}
    assert shown == {f"lock_{name}": value for name, value in dataclasses.asdict(Options()).items()}


def test_options_do_not_change():
    """Options are made once."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().ttl = 5.0


GOOD = [
    ("lock_key", "wallet:{user_id}", "wallet:{user_id}"),
    ("lock_ttl", 10, 10.0),
    ("lock_ttl", 0.5, 0.5),
    ("lock_heartbeat", False, False),
    ("lock_heartbeat", True, True),
    ("lock_wait", 0, 0.0),
    ("lock_wait", 5, 5.0),
    ("lock_on_contention", "requeue", "requeue"),
    ("lock_on_contention", "skip", "skip"),
    ("lock_on_contention", "fail", "fail"),
    ("lock_on_contention", Skip(result="Processing"), Skip(result="Processing")),
    ("lock_on_contention", Requeue(5), Requeue(5)),
    ("lock_on_contention", Fail("busy"), Fail("busy")),
    ("lock_on_contention", repr, repr),
    ("lock_countdown", "auto", "auto"),
    ("lock_countdown", 30, 30.0),
    ("lock_countdown", 0, 0.0),
    ("lock_max_requeues", None, None),
    ("lock_max_requeues", 0, 0),
    ("lock_max_requeues", 7, 7),
    ("lock_max_wait", None, None),
    ("lock_max_wait", 60, 60.0),
    ("lock_on_lost", "raise", "raise"),
    ("lock_on_lost", "kill", "kill"),
    ("lock_on_lost", "flag", "flag"),
    ("lock_on_outage", "requeue", "requeue"),
    ("lock_on_outage", "fail", "fail"),
    ("lock_on_outage", "run", "run"),
    ("lock_store", None, None),
    ("lock_store", "fast", "fast"),
]


@pytest.mark.parametrize(("name", "given", "made"), GOOD, ids=str)
def test_an_option_takes_its_good_values(name, given, made):
    """Each documented value is taken, numbers of seconds as floats."""
    value = getattr(Options.made({name: given}, where="task t"), NAMES[name])
    assert value == made
    assert type(value) is type(made)


ABOVE_ZERO = "must be a number of seconds above 0, not"
ZERO_OR_MORE = "must be a number of seconds, 0 or more, not"
BAD = [
    *(("lock_ttl", bad, ABOVE_ZERO) for bad in (0, -1, math.nan, math.inf, "10", None, True)),
    *(("lock_wait", bad, ZERO_OR_MORE) for bad in (-0.1, math.nan, math.inf, "5", None, False)),
    *(("lock_heartbeat", bad, "must be True or False, not") for bad in (1, 0, "yes", None, 10.0)),
    *(("lock_countdown", bad, ZERO_OR_MORE) for bad in (-1, math.nan, math.inf, None, True)),
    ("lock_countdown", "soon", "must be 'auto' or a number of seconds, not"),
    *(("lock_max_requeues", bad, "must be a whole number, 0 or more, or None, not") for bad in (-1, 1.5, "3", True)),
    *(("lock_max_wait", bad, ZERO_OR_MORE) for bad in (-1, math.nan, math.inf, "60", True)),
    *(("lock_on_lost", bad, "must be one of 'raise', 'kill', 'flag', not") for bad in ("stop", None, 1, ["raise"])),
    *(("lock_on_outage", bad, "must be one of 'requeue', 'fail', 'run', not") for bad in ("skip", None, 1)),
    *(("lock_store", bad, "must be an alias in lock_stores or a URL, not") for bad in ("", 1)),
]


@pytest.mark.parametrize(("name", "bad", "says"), BAD, ids=lambda value: repr(value)[:30])
def test_an_option_refuses_a_bad_value(name, bad, says):
    """Each mistake says where it was made, which option it is, what it must be, and what was given."""
    assert refusal(**{name: bad}) == f"task bank.withdraw: {name} {says} {bad!r}"


@pytest.mark.parametrize("bad", ["drop", 3, None, Skip, "", ["skip"]], ids=repr)
def test_a_policy_that_is_none_is_refused(bad):
    """A wrong policy names those there are."""
    says = refusal(lock_on_contention=bad)
    assert says.startswith(f"task bank.withdraw: lock_on_contention={bad!r} is no policy: ")
    assert says.endswith(("use 'requeue', 'skip', 'fail', Skip(result=...) or a callable", "did you mean 'skip'?"))


def test_a_misspelt_policy_is_recognized():
    """A slip of the pen gets the word that was meant."""
    assert refusal(lock_on_contention="requeu").endswith("is no policy: did you mean 'requeue'?")


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("lock_tll", "lock_ttl"),
        ("lock_heartbeats", "lock_heartbeat"),
        ("lock_on_contension", "lock_on_contention"),
        ("lock_count_down", "lock_countdown"),
        ("lock_max_requeue", "lock_max_requeues"),
    ],
)
def test_an_unknown_option_is_refused_with_a_suggestion(slip, meant):
    """An option nobody knows is an error that names the nearest one."""
    assert refusal(**{slip: 1}) == f"task bank.withdraw: unknown option {slip}: did you mean {meant}?"


@pytest.mark.parametrize("name", ["lock_restart_delay", "lock_prefix", "lock_stores"])
def test_a_setting_is_no_option(name):
    """What is one for the whole app is not said by a task."""
    says = f"task bank.withdraw: {name} is a setting and no option of a task: write app.conf.{name}"
    assert refusal(**{name: 1}) == says


def test_an_option_like_no_other_lists_those_there_are():
    """Where nothing is near, all options are named."""
    assert refusal(lock_xyzzyquux=1).endswith(f"known are {', '.join(NAMES)}")


def test_an_unknown_option_is_found_before_a_bad_value():
    """The name is wrong, whatever else is."""
    assert "unknown option lock_tll" in refusal(lock_ttl=-1, lock_tll=5)


def test_a_beat_is_a_third_of_the_ttl():
    """Two beats may fail before the lease is in danger."""
    assert Options.made({"lock_ttl": 12}, where="task t").beat_every() == pytest.approx(4.0)


def test_without_heartbeat_there_is_no_beat():
    """`lock_heartbeat=False` never renews."""
    assert Options.made({"lock_heartbeat": False}, where="task t").beat_every() is None


def test_a_heartbeat_that_cannot_beat_its_ttl_is_refused():
    """A ttl too short to be kept alive is found when the task is declared, with both mends."""
    assert refusal(lock_ttl=0.1) == (
        "task bank.withdraw: a heartbeat cannot keep a ttl of 0.1 s: take at least 0.15 s, or switch it off with"
        " heartbeat=False"
    )


def test_a_short_ttl_without_heartbeat_is_taken():
    """Nobody has to beat for a short lease that is never renewed."""
    assert Options.made({"lock_ttl": 0.01, "lock_heartbeat": False}, where="task t").ttl == 0.01


def test_the_shortest_ttl_the_message_names_can_be_kept():
    """What the refusal advises is taken."""
    assert beat_interval(0.15, heartbeat=True, where="lock") == pytest.approx(0.05)


def test_the_error_names_where_the_option_was_given():
    """A bad setting is blamed on the settings and not on a task."""
    with pytest.raises(LockConfigError, match=r"^the settings: lock_ttl must be"):
        Options.made({"lock_ttl": 0}, where="the settings")
