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
    from prometheus_client.core import GaugeMetricFamily
except ImportError as error:
    raise ImportError(f"metrics for Prometheus need {error.name}: pip install 'celery-locks[prometheus]'") from error

from celery_locks.instrumentation.measures import BUCKETS, COUNTS, DURATIONS, GAUGES, PREFIX, census, connect

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
        for field, measure in DURATIONS
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


def observe(locks: Any, registry: CollectorRegistry = REGISTRY) -> Callable[[], None]:
    """Have held keys and those who wait for them counted in the store at each scrape. Gives a function that ends it.

    In one process for each store: the numbers are of all workers.
    """
    census_taker = _Census(locks)
    registry.register(census_taker)
    return lambda: registry.unregister(census_taker)


class _Census:
    def __init__(self, locks: Any) -> None:
        self._locks = locks

    def describe(self) -> list[GaugeMetricFamily]:
        """What there will be. Nothing is asked for that."""
        return [GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=["task"]) for name, text in GAUGES.items()]

    def collect(self) -> list[GaugeMetricFamily]:
        """What there is."""
        families, found = self.describe(), census(self._locks)
        for family, counts in zip(families, found.values(), strict=True):
            for task, count in counts.items():
                family.add_metric([task], count)
        return families


def _named(measure: Measure) -> tuple[str, str, tuple[str, ...]]:
    return f"{PREFIX}_{measure.name}", measure.text, measure.labels


def _counting(measure: Measure, counter: Counter) -> Callable[[Any], None]:
    return lambda event: _of(counter, measure, event).inc()


def _timing(measure: Measure, histogram: Histogram, field: str) -> Callable[[Any], None]:
    def time(event: Any) -> None:
        if (seconds := getattr(event, field)) is not None:
            _of(histogram, measure, event).observe(seconds)

    return time


def _of(metric: Any, measure: Measure, event: Any) -> Any:
    return metric.labels(**measure.labels_of(event)) if measure.labels else metric
