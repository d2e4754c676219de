"""What a worker answers to `celery inspect locks`, and how Celery's command line knows of it."""

from __future__ import annotations

from types import SimpleNamespace

from celery.worker.control import Panel

from celery_locks.cli import remote
from celery_locks.worker import answering
from tests.unit.bank import job
from tests.unit.hall import KEY, come
from tests.unit.hall import job as job_in_line

NOBODY = SimpleNamespace(consumer=None, hostname="celery@here")


def held_by(task: str, **options) -> list[dict]:
    return [each for each in answering.locks(NOBODY, **options)["holds"] if each["task"] == task]


def test_a_worker_tells_what_it_holds_and_what_that_does_now(room):
    """The lease of a job, and on request the stack of the thread that runs it; nothing once it is done."""
    told = []

    def count_the_money(user_id):
        told.append(held_by(made.name, stacks=True))
        told.append(held_by(made.name))
        return user_id

    made = job(room, count_the_money)
    made(42)
    [[live], [plain]] = told
    assert (live["keys"], live["task_id"], live["state"]) == (["wallet:42"], None, "held")
    assert any("count_the_money" in line for line in live["stack"])
    assert "stack" not in plain
    assert {**plain, "stack": live["stack"], "stack_unknown": None} == live
    assert held_by(made.name) == []


def test_a_worker_tells_what_it_holds_of_several_keys(room, monkeypatch):
    """Also where each has a fence of its own: that of the first is told."""
    monkeypatch.setattr(type(room.store.memory), "counts_as_one", False)
    told = []

    def transfer(**_):
        told.extend((held_by(made.name), made.lease.fences))

    made = job(room, transfer, lock_key=["wallet:{user_id}", "purse:{user_id}"])
    made(user_id=42)
    [[live], fences] = told
    assert live["keys"] == ["purse:42", "wallet:42"]
    assert live["fence"] == fences["purse:42"] != fences["wallet:42"]


def test_a_worker_tells_who_waits_in_it(hall, at_work):
    """By key, job and ticket, until it ends."""
    task = job_in_line(hall)
    consumer, part = at_work(task)
    request = come(task)
    consumer.receive(part, request)
    state = SimpleNamespace(consumer=consumer, hostname="celery@here")
    [waits] = answering.locks(state)["waits"]
    assert (waits["key"], waits["task"], waits["task_id"], waits["stands"]) == (KEY, task.name, request.id, "line")
    part.stop(consumer)
    assert answering.locks(state)["waits"] == []


def test_celerys_command_line_knows_of_it(monkeypatch):
    """Where a worker's part is not imported, with the same arguments; and what a worker has registered stays."""
    ours, meta = Panel.data["locks"], Panel.meta["locks"]
    remote.offer()
    assert Panel.data["locks"] is ours
    monkeypatch.delitem(Panel.data, "locks")
    remote.offer()
    offered, Panel.data["locks"], Panel.meta["locks"] = (Panel.data["locks"], Panel.meta["locks"]), ours, meta
    assert {**offered[0](NOBODY), "clock": 0} == {"holds": [], "waits": [], "clock": 0}
    assert (offered[1].type, offered[1].signature) == (meta.type, meta.signature) == ("inspect", "[stacks=False]")
    assert [convert("true") for _, convert in offered[1].args] == [convert("true") for _, convert in meta.args]


def test_whoever_is_no_job_has_no_stack(room):
    """A lock of plain code: the answer says why there is none."""
    with room.locks.lock("wallet:7", heartbeat=True):
        [told] = [each for each in answering.locks(NOBODY, stacks=True)["holds"] if each["keys"] == ["wallet:7"]]
    assert told["stack"] is None
    assert told["stack_unknown"] == "no thread of this process runs it as a job"
