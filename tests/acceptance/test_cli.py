"""The command line beside running workers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from celery.bin.base import CLIContext

from celery_locks import LockLost
from celery_locks.cli import locks as command
from celery_locks.cli.web.window import Window
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.commands import Ended, celery, doors, masked, run, shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.conftest import System
    from tests.acceptance.nodes import Worker

pytestmark = only_redis  # what is asked goes to the store, and to the workers as all of Celery's inspection does


@pytest.fixture
def locks(office: Office) -> Callable[..., Ended]:
    """`celery locks`, with the app that sends the jobs."""
    context = CLIContext(office.app, no_color=True, workdir=None)
    return lambda *words: run(command, "--store", office.vault.url, *words, obj=context)


def test_an_operator_sees_what_a_holder_does_and_breaks_its_lock(
    office: Office, locks: Callable[..., Ended], two_workers: list[Worker]
) -> None:
    """`show` names task, arguments, worker, process and the line; a job whose key is released learns it and is stopped.

    The one that waited for it has the key then.
    """
    job = office.send("lost_raise", "long", seconds=120)
    office.journal.wait_for_start(office.key, "long")
    # One with a short countdown would be away now and then, on its way through its queue.
    contender = office.send("line", "contender")
    office.wait_for_line(1)

    ended = locks("show", office.key, "--timeout", PATIENCE, "--json")
    assert (ended.code, ended.err) == (0, "")
    [told] = ended.said
    [holder], [waiter] = told["holders"], told["line"]
    [began] = office.journal.runs(office.key)
    assert (holder["task"], holder["task_id"], holder["pid"]) == ("lost_raise", job.id, began.pid)
    assert (holder["fence"], told["waiting"], waiter["stands"]) == (began.fence, 1, "queue")
    assert 0 <= waiter["age"] <= holder["age"] < 120
    assert holder["job"]["task"] == "lost_raise"
    assert repr(office.key) in holder["job"]["kwargs"]
    assert holder["job"]["worker"] in [worker.name for worker in two_workers]
    assert holder["job"]["pid"] == began.pid

    # So does the page.
    [asked] = Window(office.locks.store, "", office.app).jobs({"key": office.key})["jobs"]
    assert (asked["task"], asked["worker"], asked["pid"]) == ("lost_raise", holder["job"]["worker"], began.pid)

    [(_, page)] = shown("celery")
    assert _nameless(locks("show", office.key, "--timeout", PATIENCE).out, office.key) == _nameless(page, "wallet:42")

    ended = locks("release", office.key, "--force", "--if-fence", began.fence)
    assert (ended.code, ended.err) == (0, "")
    assert "lock_on_lost" in ended.out
    with pytest.raises(LockLost):
        job.get(timeout=PATIENCE)
    assert contender.get(timeout=PATIENCE) == "contender"


def test_celery_finds_the_command(office: Office, system: System, tmp_path: Path) -> None:
    """As `celery -A proj locks`: the store is the app's, and its workers are asked."""
    job = office.send("lost_raise", "long", seconds=120)
    office.journal.wait_for_start(office.key, "long")
    ended = celery(
        *("-A", "tests.acceptance.tasks", "locks", "show", office.key, "--timeout", str(PATIENCE)),
        PYTHONPATH=doors(tmp_path / "doors"),
        ACCEPTANCE_CONF=json.dumps(system.conf),
    )
    [began] = office.journal.runs(office.key)
    assert (ended.code, ended.err) == (0, "")
    told = dict(line.split(maxsplit=1) for line in ended.out.splitlines()[1:])
    assert (told["task"], told["id"], told["fence"]) == ("lost_raise", job.id, str(began.fence))
    assert told["worker"].endswith("@acceptance")
    assert told["pid"].startswith(f"{began.pid} on ")
    assert office.locks.force_release(office.key)


def test_a_job_that_nobody_runs_is_not_made_up(office: Office, locks: Callable[..., Ended]) -> None:
    """A key whose owner names a job that no worker runs: all were asked, and the answer says so."""
    office.locks.store.acquire(office.locks.lock(office.key).claim(f"work[gone]@elsewhere:1#{'0' * 16}"))
    ended = locks("show", office.key)
    assert ended.code == 0
    assert "none of the 2 workers that answered runs it" in ended.out
    assert locks("release", office.key, "--force").code == 0


def _nameless(text: str, key: str) -> list[str]:
    """An output of `show` without what changes, and without what is of this key and this job."""
    lines = masked(re.sub(r"lost_raise|\bline(?=\[)", "bank.withdraw", text.replace(key, "KEY")))
    return [re.sub(r"^(kwargs|worker) .*", r"\1", line) for line in lines]
