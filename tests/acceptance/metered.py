"""The same tasks in a program that counts: for Prometheus, for OpenTelemetry where it is asked to, and by hand."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery.signals import worker_process_init, worker_process_shutdown, worker_ready
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader

from celery_locks import events, signals
from celery_locks.instrumentation import opentelemetry, prometheus
from tests.acceptance.journal import Journal
from tests.acceptance.tasks import app

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["app"]

prometheus.install()

#: What ends the counting of this process, or of its parent when it was forked.
_ends: list[Callable[[], None]] = []

if "METERED_EXPORTS" in os.environ:

    @worker_ready.connect
    @worker_process_init.connect
    def export(**_: Any) -> None:
        """Export from this process, as the docs say: all that was counted so far, a line each time."""
        end()
        file = (Path(os.environ["METERED_EXPORTS"]) / str(os.getpid())).open("w", encoding="utf-8")
        exporter = ConsoleMetricExporter(file, formatter=lambda data: f"{data.to_json(indent=None)}\n")
        provider = MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=200)])
        _ends.extend((provider.shutdown, opentelemetry.install(provider)))

    @worker_process_shutdown.connect
    def end(**_: Any) -> None:
        """Export no more."""
        while _ends:
            _ends.pop()()

    def note(name: str, event: events.Event) -> None:
        """Write down what happened to a lock, for the test to count."""
        facts = {
            name: getattr(event, name) for name in ("task_id", "waited", "delayed", "held") if hasattr(event, name)
        }
        Journal.of_this_process().write(f"told {name}", key=event.key, **facts)

    @signals.released.connect
    def fail(_event: events.Released) -> None:
        """Fail each time: no job knows of it."""
        raise RuntimeError

    for each in (signals.acquired, signals.contended, signals.requeued, signals.released):
        each.connect(partial(note, each.name))
