"""What the name of an owner tells."""

from __future__ import annotations

import os

import pytest

from celery_locks.lease import new_owner
from celery_locks.owner import Owner

RANDOM = "0f" * 8


@pytest.mark.parametrize(
    ("what", "task", "task_id"),
    [
        ("shop.withdraw[6b1c-7]", "shop.withdraw", "6b1c-7"),
        ("shop.withdraw", "shop.withdraw", None),
        ("lock", None, None),
        ("shop.withdraw[a[b]@c:1#2]", "shop.withdraw", "a[b]@c:1#2"),
        ("mail@home[1]", "mail@home", "1"),
        ("two\nlines[1]", "two\nlines", "1"),
    ],
)
def test_a_name_that_we_gave_tells_task_id_and_place(what, task, task_id):
    """Whatever is in the name of a task or in its id."""
    name = new_owner(what)
    assert Owner.of(name) == (name, task, task_id, os.uname().nodename, os.getpid(), False)


@pytest.mark.parametrize("step", ["1", "1.1", "1.1.2", "error"])
def test_a_workflow_is_no_job(step):
    """One that has its key between two tasks has no task and no id, but a step; a task may be called like it."""
    owner = Owner.of(new_owner(f"baton[{step}]"))
    assert (owner.task, owner.task_id, owner.step) == (None, None, step)
    assert owner.pid == os.getpid()
    job = Owner.of(new_owner("baton[6b1c-7]"))
    assert (job.task, job.task_id, job.step) == ("baton", "6b1c-7", None)


def test_a_job_of_rq_is_told_from_one_of_celery():
    """By its name alone. What is no job is none of RQ's either, whatever it is called."""
    name = new_owner("rq:shop.withdraw[6b1c-7]")
    owner = Owner.of(name)
    assert owner == (name, "shop.withdraw", "6b1c-7", os.uname().nodename, os.getpid(), True)
    assert owner.brief.startswith("rq:shop.withdraw[6b1c-7]@")
    assert [Owner.of(new_owner(what)).is_rq for what in ("rq:shop.withdraw", "shop.rq:withdraw[1]")] == [False, False]


@pytest.mark.parametrize("name", ["anna", "", "a@b", f"a@b:c#{RANDOM}", "a@b:1#xyz", "unknown"])
def test_a_name_that_a_program_chose_tells_nothing(name):
    """It is shown as it is."""
    assert Owner.of(name) == (name, None, None, None, None, False)
    assert Owner.of(name).brief == name


def test_a_brief_name_leaves_out_what_is_random():
    """And nothing else."""
    assert Owner.of(f"shop.withdraw[a#b]@web1:7#{RANDOM}").brief == "shop.withdraw[a#b]@web1:7"
