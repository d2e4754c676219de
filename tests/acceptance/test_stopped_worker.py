"""A worker that stands still, with jobs in line: it is heard of by nobody, and for the store it hears."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.journal import judge
from tests.acceptance.nodes import start_all
from tests.acceptance.office import PATIENCE, Office, only_redis

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.nodes import Worker

WINDOW = 0.5


@pytest.mark.newest
@only_redis
def test_a_line_goes_on_without_a_worker_that_stands_still(desk: Office, hire: Callable[..., Worker]) -> None:
    """Each of its jobs that is called costs a window; those behind run, and its own when it goes on, each once."""
    conf = {"lock_store": f"{desk.vault.url}?claim_window={WINDOW}"}
    ann, bob = (hire(name, conf, queues=[f"{name}-stands"]) for name in ("ann", "bob"))
    start_all([ann, bob])
    sent = ["ann 0", "ann 1", "bob 0", "ann 2", "bob 1"]
    with desk.taken(ttl=120):
        jobs = {}
        for place, name in enumerate(sent, 1):
            jobs[name] = desk.job("line", name, queue=f"{name[:3]}-stands").apply_async()
            desk.wait_for_line(place)
        ann.pause()
    for name in ("bob 0", "bob 1"):
        assert jobs[name].get(timeout=PATIENCE) == name
    # On a busy machine one of them may miss its window, and come behind the other.
    assert sorted(desk.journal.jobs(desk.key)) == ["bob 0", "bob 1"]
    ann.resume()
    for name in sent:
        assert jobs[name].get(timeout=PATIENCE) == name
    judge(desk.journal.runs(desk.key), sent)
