"""Metrics of a real worker, read back as Prometheus does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections import Counter, defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from celery_locks import LockLost
from celery_locks.instrumentation import opentelemetry, prometheus
from celery_locks.instrumentation.measures import BUCKETS
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.servers.process import HOST
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery.result import AsyncResult

    from celery_locks import Locks
    from tests.acceptance.nodes import Worker

#: What is counted, and each histogram with the event and its field that it is made of.
COUNTED = ("acquired", "contended", "requeued", "released")
TIMED = (("acquire", "acquired", "waited"), ("wait", "acquired", "delayed"), ("hold", "released", "held"))

#: The longest that a busy machine takes for a hundred jobs.
MINUTES = 5

pytestmark = only_redis  # what is counted is the same whatever carries the jobs


def test_what_a_worker_counts(desk: Office, hire: Callable[..., Worker], tmp_path: Path) -> None:
    """Jobs of two pool processes, one that lost its lease, and one whose process was killed: each counted once.

    So are the beats, which the main process does for all.
    """
    folder = tmp_path / "metrics"
    folder.mkdir()
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    worker = hire("worker", queues=["metered"], module="tests.acceptance.metered", environment=environment)
    worker.start()
    jobs = [desk.send("line", f"job {number}", queue="metered", seconds=0.05) for number in range(8)]
    assert [job.get(timeout=PATIENCE) for job in jobs] == [f"job {number}" for number in range(8)]
    loser = desk.send("lost_raise", "loses", queue="metered", seconds=60)
    desk.journal.wait_for_start(desk.key, "loses")
    assert desk.locks.force_release(desk.key)
    with pytest.raises(LockLost):
        loser.get(timeout=PATIENCE)
    desk.send("minute", "dies", queue="metered", seconds=60)
    os.kill(desk.journal.wait_for_start(desk.key, "dies").pid, signal.SIGKILL)
    desk.wait_until_free()
    wait_until(lambda: _counted(folder, "freed", "minute") == 1, "the worker to count the key it freed", PATIENCE)
    ends = {task: [_counted(folder, name, task) for name in ("acquired", "released", "lost", "freed")]
            for task in ("line", "lost_raise", "minute")}  # fmt: skip
    assert ends == {"line": [8, 8, 0, 0], "lost_raise": [1, 0, 1, 0], "minute": [1, 0, 0, 1]}
    assert _counted(folder, "contended", "line") >= _counted(folder, "requeued", "line")
    assert _of_all(folder).get_sample_value("celery_locks_beat_seconds_count") >= 1


def test_what_is_scraped_and_exported_is_what_happened(
    desk: Office, hire: Callable[..., Worker], tmp_path: Path
) -> None:
    """A hundred jobs for five keys, some kept at the door: Prometheus, OpenTelemetry and the jobs count the same.

    And they have the same times in the same buckets, as many as there were jobs that had them. Also a process counts
    that was forked from one that does. How many wait in line, and how much is held, is what the store says.

    The log has one line at INFO for each contention, and none above that. A receiver that fails at each job harms none,
    and each process says so once a minute.
    """
    folders = {name: tmp_path / name for name in ("PROMETHEUS_MULTIPROC_DIR", "METERED_EXPORTS")}
    for folder in folders.values():
        folder.mkdir()
    environment = {name: str(folder) for name, folder in folders.items()}
    worker = hire("worker", queues=["scraped"], module="tests.acceptance.metered", environment=environment)
    worker.start()
    before = worker.children()
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: len(worker.children() - before) == 1, "a process that replaces the dead one", PATIENCE)
    keys = [f"{desk.key}-{number}" for number in range(5)]
    jobs = _hundred_jobs(desk, keys, folders["PROMETHEUS_MULTIPROC_DIR"])
    for job in jobs:
        job.get(timeout=2 * PATIENCE)
    runs = [run for key in keys for run in desk.journal.runs(key)]
    assert len(runs) == len(jobs)

    notes = {name: [note for key in keys for note in desk.journal.events(f"told {name}", key)] for name in COUNTED}
    told = {name: len(found) for name, found in notes.items()}
    assert (told["acquired"], told["released"]) == (len(jobs), len(jobs))
    assert told["contended"] >= told["requeued"] > 0
    times = {name: [note[field] for note in notes[event] if note[field] is not None] for name, event, field in TIMED}
    # Whoever met a taken key has waited, as have those that stood aside; a key is held for longer than its job runs.
    waited = {note["task_id"] for note in notes["acquired"] if note["delayed"] is not None}
    assert {note["task_id"] for note in notes["contended"]} <= waited
    assert sum(times["hold"]) > sum((run.end or 0) - run.start for run in runs)
    _judge_scraped(folders["PROMETHEUS_MULTIPROC_DIR"], desk.locks, told, times)
    sums = {name: pytest.approx((len(each), sum(each))) for name, each in times.items()}
    wait_until(lambda: _exported(folders["METERED_EXPORTS"]) == {**told, **sums}, "the exports to be as many", PATIENCE)
    _judge_log(worker.log().splitlines(), desk.key, told["contended"], len(jobs))


def _hundred_jobs(desk: Office, keys: list[str], folder: Path) -> list[AsyncResult]:
    """Sent while somebody else has the keys, until a job waits for each and both say how many do."""
    with contextlib.ExitStack() as taken:
        for key in keys:
            taken.enter_context(desk.locks.lock(key, ttl=60))
        jobs = [
            desk.app.send_task("line", kwargs={"key": key, "job": f"job {number}", "seconds": 0.005}, queue="scraped")
            for number in range(20)
            for key in keys
        ]
        for key in keys:
            wait_until(partial(desk.journal.events, "told requeued", key), f"a job to wait for {key!r}", PATIENCE)
        url = taken.enter_context(_served(folder, desk.locks))
        wait_until(partial(_lines_are_told, desk, keys, url), "the same numbers of who waits", PATIENCE)
    return jobs


def _judge_scraped(folder: Path, locks: Locks, told: dict[str, int], times: dict[str, list[float]]) -> None:
    with _served(folder, locks) as url:
        counts, buckets = _scraped(url)
    assert {name: counts[f"{name}_total"] for name in told} == told
    for name, each in times.items():
        assert counts[f"{name}_seconds_sum"] == pytest.approx(sum(each))
        assert counts[f"{name}_seconds_count"] == len(each)
        assert buckets[name] == {le: sum(seconds <= le for seconds in each) for le in (*BUCKETS, float("inf"))}


def _judge_log(log: list[str], key: str, contended: int, jobs: int) -> None:
    lines = [line for line in log if key in line and "is held by" in line]
    written = [line for line in lines if "]: '" in line]
    assert len(written) == contended
    assert all(": INFO/" in line for line in lines)
    errors = [line for line in log if "ERROR/" in line and "signal 9" not in line]
    assert 0 < len(errors) <= 3 * MINUTES < jobs
    assert all("a receiver of the signal 'released' failed" in line for line in errors)
    assert sum("Traceback" in line for line in log) == len(errors)


def _lines_are_told(desk: Office, keys: list[str], url: str) -> bool:
    """Whether both say of those keys, which plain code holds, what the store does; jobs may come meanwhile."""
    reader = InMemoryMetricReader()
    with contextlib.closing(_Provider([reader])) as provider:
        opentelemetry.observe(desk.locks, provider)
        exported = {
            name: point["value"]
            for resource in json.loads(reader.get_metrics_data().to_json())["resource_metrics"]
            for name, point in _points_of(resource, {"task": ""})
        }
    scraped = {sample.name.removeprefix("celery_locks_"): sample.value
               for sample in _samples(url) if sample.labels == {"task": ""}}  # fmt: skip
    waiting = sum(desk.locks.store.waiting(keys))
    # Others' locks may be in the same store, for which nobody waits.
    return 0 < waiting == scraped["waiting"] == exported["waiting"] and scraped["held"] >= len(keys) <= exported["held"]


class _Provider(MeterProvider):
    close = MeterProvider.shutdown


@contextlib.contextmanager
def _served(folder: Path, locks: Locks) -> Iterator[str]:
    """Where a scrape of all processes is answered, as the docs say."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    prometheus.observe(locks, registry)
    server, thread = start_http_server(0, addr=HOST, registry=registry)
    try:
        yield f"http://{HOST}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _scraped(url: str) -> tuple[dict[str, float], dict[str, dict[float, float]]]:
    """Each number of the one task, and the buckets of each histogram, by their upper ends."""
    counts, buckets = dict[str, float](), defaultdict[str, dict[float, float]](dict)
    for sample in _samples(url):
        name, labels = sample.name.removeprefix("celery_locks_"), dict(sample.labels)
        end = labels.pop("le", None)
        if labels == {"task": "line"} and end:
            buckets[name.removesuffix("_seconds_bucket")][float(end)] = sample.value
        elif labels == {"task": "line"}:
            counts[name] = sample.value
    return counts, buckets


def _samples(url: str) -> list[Any]:
    with urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - our own
        families = text_string_to_metric_families(answer.read().decode())
        return [sample for family in families for sample in family.samples]


def _exported(folder: Path) -> dict[str, Any]:
    """What all processes have exported so far: each count, and of each histogram how many there are, and their sum."""
    counts = Counter[str]()
    times = {name: (0, 0.0) for name, *_ in TIMED}
    for name, point in _points(folder):
        if name in COUNTED:
            counts[name] += point["value"]
        elif name in times:
            count, total = times[name]
            times[name] = count + point["count"], total + point["sum"]
    return {**counts, **times}


def _points(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each process exported at last of the one task."""
    for file in folder.iterdir():
        complete = file.read_text(encoding="utf-8").rpartition("\n")[0]
        if not complete:
            continue
        for resource in json.loads(complete.splitlines()[-1])["resource_metrics"]:
            yield from _points_of(resource, {"task": "line"})


def _points_of(resource: dict[str, Any], labels: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for metric in (metric for scope in resource["scope_metrics"] for metric in scope["metrics"]):
        for point in metric["data"]["data_points"]:
            if point["attributes"] == labels:
                yield metric["name"].removeprefix("celery_locks."), point


def _counted(folder: Path, name: str, task: str) -> float:
    return _of_all(folder).get_sample_value(f"celery_locks_{name}_total", {"task": task}) or 0.0


def _of_all(folder: Path) -> CollectorRegistry:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    return registry
