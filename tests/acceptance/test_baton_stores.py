"""Workflows on stores that are no Redis: real workers hand their key on there as well, and no rival gets in between."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from celery import chain, group

from celery_locks import Locks, baton
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.acceptance.rivals import Rival, freed_within, judge, sending, step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.nodes import Worker

pytestmark = only_redis

#: Longer than a busy machine is without a beat, and no longer: a test waits for its end.
TTL = 5.0
#: Each store by the fixture that has its server, and how its URL is spelt.
STORES = {"etcd": ("etcd_url", "{}"), "sql+postgresql": ("postgres_url", "sql+{}")}


@pytest.fixture(params=STORES)
def office(request: pytest.FixtureRequest, desk: Office) -> Iterator[Office]:
    """The desk, whose locks are in another store."""
    fixture, spelt = STORES[request.param]
    url = spelt.format(request.getfixturevalue(fixture))
    with contextlib.closing(Locks(url)) as locks:
        desk.locks = locks
        yield sending(desk, url)


def test_workflows_hold_their_keys_to_their_ends(office: Office, hire: Callable[..., Worker]) -> None:
    """A chain with a retry, a chord, a chain that is undone, and one whose worker dies: free within one ttl."""
    conf = {"lock_store": office.app.conf.lock_store}
    worker = hire("worker", conf, queues=[office.key], module="tests.acceptance.workflows", concurrency=3)
    worker.start()
    desks = {name: office.beside(name) for name in ("chain", "chord", "undone", "dies")}

    def made(name: str, job: str, task: str = "step") -> object:
        return step(desks[name], job, task, queue=office.key)

    undo = office.app.signature("undo", kwargs={"key": desks["undone"].key, "job": "c"}).set(queue=office.key)
    workflows = {
        "chain": chain(made("chain", "a"), made("chain", "b", "step_retried"), made("chain", "c", "step_locked")),
        "chord": made("chord", "a") | group(made("chord", "b"), made("chord", "b")) | made("chord", "c"),
        "undone": chain(made("undone", "a"), made("undone", "b", "step_fails"), made("undone", "never")).on_error(undo),
    }
    # Where there is no line whoever asks often comes soon.
    told = {"ttl": TTL, "travel": 60, "wait": 5, "countdown": 0.1}
    with contextlib.ExitStack() as stack:
        rivals = {name: stack.enter_context(Rival(each, rest=0.1)) for name, each in desks.items()}
        for rival in rivals.values():
            rival.has_it_again()
        for name, canvas in workflows.items():
            baton(canvas, desks[name].key, **told).delay()
        for name in workflows:
            desks[name].journal.wait_for_start(desks[name].key, "c", timeout=PATIENCE)
            # Long before what would end by itself.
            rivals[name].has_it_again()
        baton(chain(made("dies", "a"), made("dies", "b", "step_dies")), desks["dies"].key, **told).delay()
        worker.wait_until_ended(PATIENCE)
        freed_within(desks["dies"], rivals["dies"], TTL)
    for name, jobs in {"chain": "abbc", "chord": "abbc", "undone": "abc", "dies": "ab"}.items():
        ours = judge(desks[name], [*jobs])
        assert {run.key for run in ours} == {desks[name].key}
        assert len({run.fence for run in ours}) == 1, "one lease is handed from step to step"
