"""Metrics for OpenTelemetry.

    from celery_locks.instrumentation import opentelemetry

    opentelemetry.install()

It goes by the API alone: where they are sent is for the program to say. In a prefork pool each process needs a
provider of its own, and so has the main process: docs/metrics.md shows how.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from opentelemetry import metrics
    from opentelemetry.metrics import Observation
except ImportError as error:
    raise ImportError(
        f"metrics for OpenTelemetry need {error.name}: pip install 'celery-locks[opentelemetry]'"
    ) from error

from celery_locks.instrumentation.measures import BUCKETS, COUNTS, DURATIONS, GAUGES, PREFIX, census, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.metrics import CallbackOptions, Counter, Histogram, MeterProvider

    from celery_locks.instrumentation.measures import Measure

    Receivers = Iterator[tuple[Measure, Callable[[Any], None]]]


def install(provider: MeterProvider | None = None) -> Callable[[], None]:
    """Count what happens to locks in this process, and in those that it forks. Gives a function that ends it."""
    meter = metrics.get_meter(PREFIX, meter_provider=provider)

    def receivers() -> Receivers:
        for measure in COUNTS:
            counter = meter.create_counter(f"{PREFIX}.{measure.name}", description=measure.text)
            yield measure, _counting(measure, counter)
        for field, measure in DURATIONS:
            name = f"{PREFIX}.{measure.name.removesuffix('_seconds')}"
            histogram = meter.create_histogram(name, "s", measure.text, explicit_bucket_boundaries_advisory=BUCKETS)
            yield measure, _timing(measure, histogram, field)

    return connect(receivers())


def observe(locks: Any, provider: MeterProvider | None = None) -> None:
    """Have held keys and those who wait for them counted in the store at each reading.

    In one process for each store: the numbers are of all workers. It ends with its provider.
    """
    meter = metrics.get_meter(PREFIX, meter_provider=provider)
    for name, text in GAUGES.items():
        meter.create_observable_gauge(f"{PREFIX}.{name}", [_reading(locks, name)], description=text)


def _reading(locks: Any, name: str) -> Callable[[CallbackOptions], list[Observation]]:
    return lambda _: [Observation(count, {"task": task}) for task, count in census(locks)[name].items()]


def _counting(measure: Measure, counter: Counter) -> Callable[[Any], None]:
    return lambda event: counter.add(1, measure.labels_of(event))


def _timing(measure: Measure, histogram: Histogram, field: str) -> Callable[[Any], None]:
    def time(event: Any) -> None:
        if (seconds := getattr(event, field)) is not None:
            histogram.record(seconds, measure.labels_of(event))

    return time
