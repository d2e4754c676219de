"""The log lines: INFO for a contention, WARNING for what needs a look."""

from __future__ import annotations

import logging

import pytest

from celery_locks import events, signals
from celery_locks.instrumentation import log
from celery_locks.lease import Claim
from celery_locks.loss import lose

JOB = {"task": "bank.withdraw", "task_id": "7"}
CONTENDED = events.Contended("wallet:42", "me", "somebody", 12.34, 3, 0.0, 4.06, **JOB)
REQUEUED = events.Requeued("wallet:42", "me", "somebody", 2.0, 4, **JOB)
DUPLICATE = events.Duplicate("wallet:42", "me", **JOB)
SKIPPED = events.Skipped("wallet:42", "me", "somebody", "skipped: 'wallet:42' is taken", **JOB)
EXPIRED = events.Expired("wallet:42", "me", 7, 31.26, **JOB)
OUTAGE = events.Outage("wallet:42", "me", "acquire", "Redis did not answer", **JOB)


def written(
    caplog: pytest.LogCaptureFixture, event: events.Event, level: int = logging.DEBUG
) -> list[logging.LogRecord]:
    with caplog.at_level(level, "celery_locks"):
        getattr(signals, type(event).__name__.lower()).send(event)
    return caplog.records


LINES = [
    (
        CONTENDED,
        "INFO",
        "bank.withdraw[7]: 'wallet:42' is held by somebody for 4.1 s, its lease lasts 12.3 s more, place 3 in line",
    ),
    (REQUEUED, "DEBUG", "bank.withdraw[7]: waits for 'wallet:42', try 4 in 2.0 s"),
    (DUPLICATE, "INFO", "bank.withdraw[7]: not sent once more, it has 'wallet:42'"),
    (SKIPPED, "INFO", "bank.withdraw[7]: not run, skipped: 'wallet:42' is taken"),
    (
        EXPIRED,
        "WARNING",
        "bank.withdraw[7]: held 'wallet:42' for 31.3 s and its lease had ended before: use a longer ttl or a heartbeat",
    ),
    (OUTAGE, "WARNING", "bank.withdraw[7]: no answer for 'wallet:42' during acquire: Redis did not answer"),
]


@pytest.mark.parametrize(("event", "level", "line"), LINES, ids=[type(each[0]).__name__ for each in LINES])
def test_an_event_is_one_line(caplog, event, level, line):
    """At its level, in words, in the logger `celery_locks`."""
    [record] = written(caplog, event)
    assert (record.name, record.levelname, record.getMessage()) == ("celery_locks", level, line)


@pytest.mark.parametrize("event", [each[0] for each in LINES], ids=[type(each[0]).__name__ for each in LINES])
def test_a_line_carries_its_event(caplog, event):
    """For who collects logs as data: `record.lock` has every field and the kind of event."""
    [record] = written(caplog, event)
    assert record.lock["event"] == type(event).__name__.lower()
    assert {name: record.lock[name] for name in ("key", "owner", "task", "task_id")} == {
        "key": "wallet:42",
        "owner": "me",
        **JOB,
    }


def test_a_lost_lease_and_a_key_that_stays_taken_carry_theirs(room, caplog):
    """These lines are written by the keeper and the guard."""
    claim = Claim("wallet:42", "me", 30.0, **JOB)
    lease = room.guard.enter(claim)
    room.store.fail("release")
    assert room.guard.ended(lease)
    lose(lease, "it was taken away")
    outage, lost = caplog.records
    assert [outage.lock[name] for name in ("event", "key", "task", "during")] == [
        "outage", "wallet:42", "bank.withdraw", "release"
    ]  # fmt: skip
    assert [lost.lock[name] for name in ("event", "key", "task_id", "fence", "reason")] == [
        "lost", "wallet:42", "7", lease.fence, "it was taken away"
    ]  # fmt: skip
    assert {outage.levelname, lost.levelname} == {"WARNING"}


def test_what_is_not_known_is_left_out(caplog):
    """A store that can tell nothing gets a short line."""
    [record] = written(caplog, events.Contended("wallet:42", "me", None, None, None, 0.0))
    assert record.getMessage() == "me: 'wallet:42' is held by another owner"


def test_plain_code_is_named_by_its_owner(caplog):
    """Where no job is behind it."""
    [record] = written(caplog, events.Expired("wallet:42", "lock@host:7#ab", 7, 1.0))
    assert record.getMessage().startswith("lock@host:7#ab: ")


def test_plain_code_hears_of_an_outage_from_its_error(caplog):
    """And a line beside it would say the same twice."""
    assert written(caplog, events.Outage("wallet:42", "lock@host:7#ab", "acquire", "gone")) == []


def test_requeues_do_not_flood_the_log(caplog):
    """At INFO, the usual level, a re-queue writes nothing beside its contention."""
    assert written(caplog, REQUEUED, logging.INFO) == []


def test_a_contention_is_not_written_where_nobody_reads_it(caplog):
    """Above INFO it costs nothing."""
    assert written(caplog, CONTENDED, logging.WARNING) == []


def test_no_contention_is_an_error(caplog):
    """Contention is no failure: nothing here is at ERROR."""
    for event, *_ in LINES:
        written(caplog, event)
    assert max(record.levelno for record in caplog.records) == logging.WARNING


def test_installing_twice_writes_once(caplog):
    """As when a module is reloaded."""
    log.install()
    assert len(written(caplog, OUTAGE)) == 1


def test_taking_and_giving_back_is_not_written():
    """The usual course of things has no receiver, so it costs no event."""
    assert not signals.acquired
    assert not signals.released


@pytest.mark.parametrize("during", ["renew", "release"])
def test_an_outage_that_others_tell_is_not_told_twice(caplog, during):
    """The keeper and the guard write those themselves, one line for all leases."""
    assert written(caplog, events.Outage("wallet:42", "lock@host:7#ab", during, "gone")) == []
