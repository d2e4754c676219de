"""The doctor on tasks and their app: each hazard is found where it is, and none where it is not."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from celery import Celery
from celery.bin.base import CLIContext
from kombu import Queue

from celery_locks import LockedTask, Locks
from celery_locks.cli import locks as command
from celery_locks.lease import Claim, new_owner
from tests.commands import Ended, run

#: What every job should have; a test takes one thing away.
SOUND = {
    "broker_url": "redis://127.0.0.1:1/0",
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_time_limit": 600,
}


def sound(**conf: Any) -> Celery:
    """A sound app, but for what is given, with one locked task."""
    app = Celery("bank", set_as_current=False)
    app.conf.update({**SOUND, "lock_store": f"file:///tmp/celery_locks-none/{uuid.uuid4().hex}", **conf})
    return app


def declare(app: Celery, name: str = "bank.withdraw", **options: Any) -> None:
    @app.task(base=LockedTask, shared=False, name=name, **{"lock_key": "wallet:{user_id}", **options})
    def withdraw(user_id, amount): ...


def examined(app: Celery, *words: str) -> Ended:
    """With no worker, and none asked unless the test says so."""
    return run(command, "doctor", "--timeout", 0, *words, obj=CLIContext(app, no_color=True, workdir=None))


def codes(app: Celery, *words: str) -> list[str]:
    return [said["code"] for said in examined(app, "--json", *words).said]


def diagnosis(options: dict[str, Any] | None = None, **conf: Any) -> list[str]:
    app = sound(**conf)
    declare(app, **(options or {}))
    return codes(app)


def test_a_sound_app_has_no_finding():
    """Exit code 0, and one line that says so."""
    app = sound()
    declare(app)
    ended = examined(app)
    assert (ended.code, ended.out, ended.err) == (0, "nothing is wrong\n", "")


def test_a_finding_says_what_why_and_the_line_that_mends_it():
    """In text and as JSON, with a place in the docs; exit code 1."""
    app = sound(task_reject_on_worker_lost=False)
    declare(app)
    ended = examined(app)
    assert ended.code == 1
    assert ended.out.splitlines()[0] == "CL102 warning: acks_late without task_reject_on_worker_lost: bank.withdraw"
    assert "  mend     app.conf.task_reject_on_worker_lost = True" in ended.out
    assert ended.out.splitlines()[-2:] == ["  more     docs/doctor.md#cl102", "1 warning"]
    [said] = examined(app, "--json").said
    assert (said["severity"], said["anchor"]) == ("warning", "docs/doctor.md#cl102")


def test_a_hazard_that_is_known_can_be_left_out():
    """It counts no more for the exit code."""
    app = sound(task_time_limit=None, task_acks_late=False)
    declare(app)
    assert examined(app).code == 1
    ended = examined(app, "--ignore", "cl103")
    assert (ended.code, ended.out) == (0, "nothing is wrong\n")


def test_a_task_with_arguments_that_was_given_no_key():
    """All its jobs have one key; one who says that this is meant is believed."""
    app = sound()

    @app.task(base=LockedTask, shared=False, name="bank.close")
    def close(user_id): ...

    @app.task(base=LockedTask, shared=False, name="bank.nightly")
    def nightly(): ...

    declare(app, lock_key="{task}")
    [said] = examined(app, "--json").said
    assert said["code"] == "CL101"
    assert said["mend"].startswith('lock_key="bank.close:{user_id}"; if one at a time is meant')
    assert said["mend"].endswith('lock_key="{task}"')


def test_an_argument_in_a_key_without_its_braces():
    """A plain text that names one is one key for all; one that names none was meant so."""
    app = sound()

    @app.task(base=LockedTask, shared=False, name="bank.close", lock_key="wallet:user_id", time_limit=60)
    def close(user_id): ...

    @app.task(base=LockedTask, shared=False, name="bank.report", lock_key="report", time_limit=60)
    def report(report): ...

    [said] = examined(app, "--json").said
    assert said["code"] == "CL101"
    assert "lock_key='wallet:user_id', user_id without braces" in said["what"]


@pytest.mark.parametrize(
    ("found", "options", "conf"),
    [
        ("CL102", {}, {"task_reject_on_worker_lost": None}),
        ("CL103", {}, {"task_time_limit": None, "task_acks_late": False}),
        ("CL104", {"time_limit": 7200}, {}),
        ("CL104", {}, {"broker_transport_options": {"visibility_timeout": 599}}),
        ("CL104", {"time_limit": 1801}, {"broker_url": "amqp://127.0.0.1:1"}),
        ("CL105", {"lock_countdown": 3601}, {}),
        ("CL106", {"lock_ttl": 3601, "lock_heartbeat": False}, {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_declaration_that_bites_is_found(found, options, conf):
    """Alone, for all else is sound."""
    assert diagnosis(options, **conf) == [found]


@pytest.mark.parametrize(
    ("options", "conf"),
    [
        ({"acks_late": False, "reject_on_worker_lost": None, "time_limit": 7200}, {}),
        ({"lock_countdown": 3600}, {}),
        ({"lock_ttl": 3601}, {}),
        ({"lock_ttl": 3600, "lock_heartbeat": False}, {}),
        ({"lock_heartbeat": False, "lock_ttl": 60, "acks_late": False}, {"task_time_limit": None}),
        ({"time_limit": 7200}, {"broker_transport_options": {"visibility_timeout": 7200}}),
        ({"time_limit": 7200}, {"broker_url": "memory://"}),
    ],
)
def test_a_declaration_that_does_not_bite_is_not_found(options, conf):
    """On the safe side of each bound."""
    assert diagnosis(options, **conf) == []


@pytest.mark.parametrize(("known", "found"), [(3600, ["CL104"]), (3601, [])])
def test_a_copy_of_a_job_that_is_sent_once(known, found):
    """It does no work twice if the end of its job is known for longer than the broker waits."""
    app = sound(lock_store="memory://")
    declare(app, time_limit=7200, lock_unique="until_done", lock_unique_ttl=known)
    assert codes(app, "--ignore", "CL006") == found


def test_quorum_queues_wake_nobody():
    """Where a line would be kept, and with a policy that goes back to the queue."""
    queues = [Queue("celery", queue_arguments={"x-queue-type": "quorum"})]
    conf = {"broker_url": "amqp://127.0.0.1:1", "task_queues": queues, "lock_store": "redis://127.0.0.1:1/0"}
    # Its store is away: that is found too.
    assert diagnosis(**conf) == ["CL107", "CL001"]
    assert diagnosis({"lock_on_contention": "skip"}, **conf) == ["CL001"]


def test_an_app_without_a_store():
    """Files of one machine, where nothing else is named."""
    assert diagnosis(lock_store=None, broker_url="memory://") == ["CL109"]


def test_locks_in_memory():
    """They hold in one process."""
    assert diagnosis(lock_store=f"memory://{uuid.uuid4().hex}") == ["CL006"]


def test_a_worker_may_hold_fewer_messages_than_jobs_wait(monkeypatch):
    """A note as long as there is room, and an error when there is none."""
    app = sound(worker_eta_task_limit=2)
    declare(app)
    assert [each["severity"] for each in examined(app, "--json").said] == ["note"]
    assert examined(app).code == 0
    # The smallest fake: a store whose lines are as long as it says.
    monkeypatch.setattr("celery_locks.cli.verbs.doctor._waiting", lambda _store: 2)
    [said] = examined(app, "--json").said
    assert (said["code"], said["severity"]) == ("CL108", "error")


def test_two_apps_with_one_prefix(tmp_path):
    """Found by the tasks of those who hold keys; a workflow that has one between two tasks, and an RQ job, are none."""
    app = sound(lock_store=f"file://{tmp_path}/locks")
    declare(app)
    store = Locks(f"file://{tmp_path}/locks").store
    store.acquire(Claim("wallet:1", new_owner("bank.withdraw[1]"), 30.0))
    store.acquire(Claim("wallet:2", new_owner(), 30.0))
    store.acquire(Claim("wallet:4", new_owner("baton[1.1]"), 30.0))
    store.acquire(Claim("wallet:5", new_owner("rq:shop.send[1]"), 30.0))
    assert codes(app) == []
    store.acquire(Claim("wallet:3", new_owner("shop.order[2]"), 30.0))
    [said] = examined(app, "--json").said
    assert said["code"] == "CL005"
    assert "shop.order" in said["what"]
    store.close()


def test_workers_that_cannot_be_asked():
    """A broker that is away is a note; one at which no worker is, is none."""
    app = sound()
    declare(app)
    ended = examined(app, "--timeout", "1")
    said = ended.out.splitlines()[0]
    assert (ended.code, said.startswith("CL000 note: not looked for: clocks of workers: the broker could")) == (0, True)
    app = sound(broker_url="memory://")
    declare(app)
    assert codes(app, "--timeout", "0.5") == []


def test_every_store_that_a_task_uses_is_examined():
    """Each once; and with --store that one alone."""
    away, memory = "redis://:secret@127.0.0.1:1/0", f"memory://{uuid.uuid4().hex}"
    app = sound(lock_stores={"away": away, "again": away, "memory": memory})
    declare(app, "bank.one", lock_store="away")
    declare(app, "bank.two", lock_store="again")
    declare(app, "bank.three", lock_store="memory")
    assert sorted(codes(app)) == ["CL001", "CL006"]
    words = "--store", "away", "doctor", "--timeout", 0
    ended = run(command, *words, obj=CLIContext(app, no_color=True, workdir=None))
    assert (ended.code, ended.out.count("CL00"), "secret" in ended.out) == (3, 1, False)
