"""Log lines: one at INFO per contention, WARNING for what needs a look."""

from __future__ import annotations

import logging

from celery_locks import events, signals

logger = logging.getLogger("celery_locks")


def install() -> None:
    """Write these lines from now on."""
    signals.contended.connect(_contended)
    signals.requeued.connect(_requeued)
    signals.skipped.connect(_skipped)
    signals.duplicate.connect(_duplicate)
    signals.expired.connect(_expired)
    signals.outage.connect(_outage)


def _who(event: events.Event) -> str:
    return f"{event.task}[{event.task_id}]" if event.task_id else event.owner


def _contended(event: events.Contended) -> None:
    if logger.isEnabledFor(logging.INFO):
        age = "" if event.age is None else f" for {event.age:.1f} s"
        left = "" if event.remaining is None else f", its lease lasts {event.remaining:.1f} s more"
        place = "" if event.place is None else f", place {event.place} in line"
        logger.info(
            "%s: %r is held by %s%s%s%s", _who(event), event.key, event.holder or "another owner", age, left, place,
            extra=events.data(event),
        )  # fmt: skip


def _requeued(event: events.Requeued) -> None:
    logger.debug(
        "%s: waits for %r, try %d in %.1f s",
        _who(event),
        event.key,
        event.attempts,
        event.delay,
        extra=events.data(event),
    )


def _skipped(event: events.Skipped) -> None:
    logger.info("%s: not run, %s", _who(event), event.reason, extra=events.data(event))


def _duplicate(event: events.Duplicate) -> None:
    text = "%s: its message came once more, but it has ended" if event.is_copy else "%s: not sent once more, it has %r"
    logger.info(text, _who(event), *(() if event.is_copy else (event.key,)), extra=events.data(event))


def _expired(event: events.Expired) -> None:
    logger.warning(
        "%s: held %r for %.1f s and its lease had ended before: use a longer ttl or a heartbeat",
        _who(event), event.key, event.held, extra=events.data(event),
    )  # fmt: skip


def _outage(event: events.Outage) -> None:
    # The keeper and the guard say the others themselves, once for all leases; plain code gets an error.
    if event.during != "acquire" or event.task_id is None:
        return
    logger.warning(
        "%s: no answer for %r during %s: %s",
        _who(event),
        event.key,
        event.during,
        event.reason,
        extra=events.data(event),
    )
