"""Metrics for Prometheus.

    from celery_locks.instrumentation import prometheus

    prometheus.install()

In a prefork pool most events happen in the pool's processes: set PROMETHEUS_MULTIPROC_DIR for the worker, as
prometheus_client asks for whatever has several processes, and serve what is in there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from prometheus_client import REGISTRY, Counter, Histogram
except ImportError as error:
    raise ImportError(f"metrics for Prometheus need {error.name}: pip install 'celery-locks[prometheus]'") from error

from celery_locks.instrumentation.measures import BUCKETS, COUNTS, DURATIONS, PREFIX, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client import CollectorRegistry

    from celery_locks.instrumentation.measures import Measure

    Receivers = Iterator[tuple[Measure, Callable[[Any], None]]]


def install(registry: CollectorRegistry = REGISTRY, buckets: Sequence[float] = BUCKETS) -> Callable[[], None]:
    """Count what happens to locks in this process, and in those that it forks. Gives a function that ends it."""
    counters = [(measure, Counter(*_named(measure), registry=registry)) for measure in COUNTS]
    histograms = [
        (measure, field, Histogram(*_named(measure), buckets=buckets, registry=registry))
        for field, measure in DURATIONS.items()
    ]

    def receivers() -> Receivers:
        for measure, counter in counters:
            yield measure, _counting(measure, counter)
        for measure, field, histogram in histograms:
            yield measure, _timing(measure, histogram, field)

    stop = connect(receivers())

    def uninstall() -> None:
        stop()
        for collector in (*(counter for _, counter in counters), *(histogram for *_, histogram in histograms)):
            registry.unregister(collector)

    return uninstall


def _named(measure: Measure) -> tuple[str, str, tuple[str, ...]]:
    return f"{PREFIX}_{measure.name}", measure.text, measure.labels


def _counting(measure: Measure, counter: Counter) -> Callable[[Any], None]:
    return lambda event: counter.labels(**measure.labels_of(event)).inc()


def _timing(measure: Measure, histogram: Histogram, field: str) -> Callable[[Any], None]:
    return lambda event: histogram.labels(**measure.labels_of(event)).observe(getattr(event, field))
