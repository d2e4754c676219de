"""A Celery job and an RQ job on one key."""

from __future__ import annotations

import os
import subprocess
import sys

from celery.bin.base import CLIContext

from celery_locks.cli import locks as command
from tests.commands import celery_locks, run
from tests.rq import jobs, office
from tests.rq.yard import PATIENCE, ROOT
from tests.servers.process import _end_with_us
from tests.waiting import wait_until


def test_a_celery_job_and_an_rq_job_exclude_each_other(yard):
    """Each waits for the other, and is called when that gives the key back. The command line shows who has it.

    Of an RQ job it says that no worker of Celery knows of it, and the doctor finds nobody else's keys beside the locks.
    """
    url = yard.server.url
    office.app.conf.update(broker_url=f"{url[:-1]}5", lock_store=url)
    words = ["-m", "celery", "-A", "tests.rq.office", "worker", "-P", "solo", "--without-gossip", "--without-mingle"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OFFICE_URL": url}
    with (yard.folder / "celery.log").open("wb") as log, yard.workers(1):
        celery = subprocess.Popen(
            [*_end_with_us(), sys.executable, *words], env=env, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            first = yard.send(jobs.hold_long, "first")
            yard.began("first")
            [shown] = celery_locks(url, "list", "--json", yard.key).said
            assert first.id in shown["owner"]
            office.visit.delay(yard.key, "second", until=True)
            wait_until(lambda: _waiting(yard), "the Celery job in line", PATIENCE)
            context = CLIContext(office.app, no_color=True, workdir=None)
            told = run(command, "show", yard.key, obj=context).out
            assert "it is held for an RQ job, of which Celery's workers know nothing; what RQ knows of it" in told
            assert f"Job.fetch({first.id!r}, connection)" in told
            found = {said["code"] for said in run(command, "doctor", "--timeout", 0, "--json", obj=context).said}
            assert not found & {"CL005", "CL206"}
            yard.enough("first")
            yard.began("second")
            third = yard.send(jobs.patient, "third")
            yard.waits(third)
            yard.enough("second")
            yard.becomes(third, "finished")
            yard.were_apart(3)
        finally:
            celery.kill()
            celery.wait()


def _waiting(yard):
    [shown] = celery_locks(yard.server.url, "list", "--json", yard.key).said
    return shown["waiting"]
