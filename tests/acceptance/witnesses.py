"""The jobs without a lock that go with the locked ones: links, errbacks, a chord's body, a step of a chain."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from tests.acceptance.journal import Journal


@shared_task(name="note")
def note(*args: Any, key: str, job: str) -> list[Any]:
    """Write down that this was called, and with what: a link, an errback, a chord's body."""
    Journal.of_this_process().write("note", key=key, job=job, args=args)
    return list(args)


@shared_task(name="errback")
def errback(request: Any, error: Any, traceback: Any, key: str, job: str) -> None:  # noqa: ARG001 - Celery's signature
    """Write down whose failure this was called for."""
    Journal.of_this_process().write("note", key=key, job=job, args=[request.id, type(error).__name__])


@shared_task(name="plain")
def plain(*args: Any) -> Any:
    """A job without a lock."""
    return args[-1]
