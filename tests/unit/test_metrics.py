"""What happens to locks, as numbers."""

from __future__ import annotations

import importlib
import sys
from contextlib import closing

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from celery_locks import Locks, LockTimeout, events, signals
from celery_locks.instrumentation import opentelemetry, prometheus
from celery_locks.lease import Claim, new_owner
from celery_locks.stores.memory import MemoryStore


@pytest.fixture
def registry():
    found = CollectorRegistry()
    uninstall = prometheus.install(found)
    yield found
    uninstall()


@pytest.fixture
def reader():
    found = InMemoryMetricReader()
    provider = MeterProvider([found])
    stop = opentelemetry.install(provider)
    yield found
    stop()
    provider.shutdown()


def happens() -> None:
    """One of each."""
    known = {"task": "pay", "task_id": "1"}
    signals.acquired.send(events.Acquired("wallet:1", "anna", 1, 0.003, **known))
    signals.acquired.send(events.Acquired("wallet:2", "ben", 2, 0.004, 3, 12.0, **known))
    signals.beat.send(events.Beat("wallet:1", "anna", 2, 0.003, **known))
    signals.contended.send(events.Contended("wallet:1", "cleo", "anna", 3.0, 1, 0.0))
    signals.requeued.send(events.Requeued("wallet:1", "cleo", "anna", 3.0, 1, **known))
    signals.skipped.send(events.Skipped("wallet:1", "dora", "anna", "taken", **known))
    signals.duplicate.send(events.Duplicate("unique:pay:wallet:1", "anna", **known))
    signals.released.send(events.Released("wallet:1", "anna", 1, 2.0, **known))
    signals.expired.send(events.Expired("wallet:2", "ben", 2, 40.0, **known))
    signals.freed.send(events.Freed("wallet:3", "emil", **known))
    signals.lost.send(events.Lost("wallet:2", "ben", 2, "its ttl ran out", **known))
    signals.outage.send(events.Outage("wallet:2", "ben", "renew", "no answer", **known))


#: What that comes to.
COUNTED = {
    ("acquired", "pay"): 2,
    ("contended", ""): 1,
    ("requeued", "pay"): 1,
    ("skipped", "pay"): 1,
    ("duplicates", "pay"): 1,
    ("released", "pay"): 1,
    ("expired", "pay"): 1,
    ("freed", "pay"): 1,
    ("lost", "pay"): 1,
    ("outages", "pay"): 1,
}


def test_prometheus_counts_every_event(registry):
    """By the name of the task, which is empty for plain code; how long is a histogram."""
    happens()
    samples = {(each.name, each.labels.get("task"), each.labels.get("le")): each for each in _samples(registry)}
    counted = {(name.removeprefix("celery_locks_").removesuffix("_total"), task): sample.value
               for (name, task, _), sample in samples.items() if name.endswith("_total")}  # fmt: skip
    assert counted == COUNTED
    assert samples["celery_locks_outages_total", "pay", None].labels == {"task": "pay", "during": "renew"}
    assert samples["celery_locks_hold_seconds_sum", "pay", None].value == 42.0
    # One of the two had to wait for its key.
    assert samples["celery_locks_wait_seconds_count", "pay", None].value == 1
    assert samples["celery_locks_wait_seconds_sum", "pay", None].value == 12.0
    # What is kept by other tests may beat meanwhile.
    assert samples["celery_locks_beat_seconds_sum", None, None].value >= 0.003
    assert samples["celery_locks_acquire_seconds_bucket", "pay", "0.002"].value == 0
    assert samples["celery_locks_acquire_seconds_bucket", "pay", "0.005"].value == 2


def test_opentelemetry_counts_every_event(reader):
    """The same numbers, with seconds as its unit."""
    happens()
    found = {metric.name.removeprefix("celery_locks."): metric for metric in _metrics(reader)}
    points = [(name, point) for name, metric in found.items() for point in metric.data.data_points if name != "beat"]
    assert [(point.sum, point.count) for point in found["wait"].data.data_points] == [(12.0, 1)]
    assert [point.sum >= 0.003 for point in found["beat"].data.data_points] == [True]
    assert {(name, each.attributes["task"]): each.value for name, each in points if hasattr(each, "value")} == COUNTED
    assert dict(found["outages"].data.data_points[0].attributes) == {"task": "pay", "during": "renew"}
    assert found["hold"].unit == "s"
    assert [(point.sum, point.count) for point in found["hold"].data.data_points] == [(42.0, 2)]
    [waits] = found["acquire"].data.data_points
    assert waits.bucket_counts[waits.explicit_bounds.index(0.005)] == 2


def test_a_lock_of_plain_code_is_measured(registry):
    """How long it took to have it, and how long it was held; a key that is taken is a conflict."""
    with closing(Locks(MemoryStore())) as locks, locks.lock("wallet"), pytest.raises(LockTimeout):
        locks.run("wallet", int)
    values = {each.name: each.value for each in _samples(registry) if each.labels == {"task": ""}}
    names = ("acquired_total", "contended_total", "released_total", "hold_seconds_count", "acquire_seconds_count")
    assert [values[f"celery_locks_{name}"] for name in names] == [1] * 5


def test_what_is_held_is_counted_in_the_store():
    """When it is read, by task, whoever holds it; and of those who wait nothing where no line is kept."""
    registry, reader = CollectorRegistry(), InMemoryMetricReader()
    provider = MeterProvider([reader])
    with closing(Locks(MemoryStore())) as locks:
        stop = prometheus.observe(locks, registry)
        opentelemetry.observe(locks, provider)
        assert list(_samples(registry)) == []
        for key, name in (("wallet:1", "pay[1]"), ("wallet:2", "pay[2]"), ("door", "lock")):
            locks.store.acquire(Claim(key, new_owner(name), 30.0))
        assert {(each.name, each.labels["task"]): each.value for each in _samples(registry)} == {
            ("celery_locks_held", "pay"): 2,
            ("celery_locks_held", ""): 1,
        }
        [held] = _metrics(reader)
        assert {point.attributes["task"]: point.value for point in held.data.data_points} == {"pay": 2, "": 1}
        stop()
        assert list(_samples(registry)) == []
    provider.shutdown()


def test_no_key_becomes_a_label(registry, reader):
    """However many keys there are, the metrics do not grow."""
    happens()
    before = len(list(_samples(registry)))
    for number in range(50):
        signals.lost.send(events.Lost(f"wallet:{number}", "ben", 2, "its ttl ran out", task="pay", task_id="1"))
    assert len(list(_samples(registry))) == before
    assert "wallet" not in str([list(metric.data.data_points) for metric in _metrics(reader)])


def test_metrics_that_were_ended_count_no_more():
    """And may begin again in the same registry."""
    registry = CollectorRegistry()
    prometheus.install(registry)()
    happens()
    assert list(_samples(registry)) == []
    prometheus.install(registry)()


@pytest.mark.parametrize(("name", "library"), [("prometheus", "prometheus_client"), ("opentelemetry", "opentelemetry")])
def test_a_missing_library_is_named_with_its_extra(monkeypatch, name, library):
    """What to install is in the message."""
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"celery_locks.instrumentation.{name}")
    with pytest.raises(ImportError, match=rf"pip install 'celery-locks\[{name}\]'"):
        importlib.import_module(f"celery_locks.instrumentation.{name}")


def _samples(registry):
    return (
        sample for family in registry.collect() for sample in family.samples if not sample.name.endswith("_created")
    )


def _metrics(reader):
    data = reader.get_metrics_data()
    return [metric for each in data.resource_metrics for scope in each.scope_metrics for metric in scope.metrics]
