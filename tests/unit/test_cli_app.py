"""The command line with an app: `celery -A proj locks`."""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys
import uuid

import click
import pytest
from celery import Celery
from celery.bin.base import CLIContext

from celery_locks import Locks
from celery_locks.cli import locks as command
from celery_locks.cli import main
from celery_locks.cli.group import VERBS
from celery_locks.cli.question import Question
from celery_locks.cli.web.window import Window
from celery_locks.lease import Claim, new_owner
from tests.commands import celery, doors, run

APP = """
import celery
app = celery.Celery("shop", broker="memory://", set_as_current=False)
app.user_options["preload"].add(celery.bin.base.click.Option(["--zone"], default="here"))
app.conf.lock_store = "file://{folder}/locks"
"""


@pytest.fixture
def app():
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.lock_store = f"memory://{uuid.uuid4().hex}"
    yield app
    app.close()


@pytest.fixture
def locks(app):
    def ask(*words, **options):
        return run(command, *words, obj=CLIContext(app, no_color=True, workdir=None), **options)

    return ask


def take(url: str, key: str):
    return Locks(url).store.acquire(Claim(key, new_owner("shop.withdraw[6b1c]"), 30.0))


def test_the_store_is_the_apps(app, locks):
    """Or another one of its `lock_stores`, by its alias."""
    app.conf.lock_stores = {"reports": f"memory://{uuid.uuid4().hex}"}
    take(app.conf.lock_store, "wallet:42")
    take(app.conf.lock_stores["reports"], "report:7")
    assert [row["key"] for row in locks("list", "--json").said] == ["wallet:42"]
    assert [row["key"] for row in locks("--store", "reports", "list", "--json").said] == ["report:7"]


def test_an_alias_that_is_none_is_wrong_usage(app, locks):
    """The aliases there are stand in the message."""
    app.conf.lock_stores = {"reports": "memory://"}
    ended = locks("--store", "report", "list")
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "'reports'" in ended.err


def test_an_app_that_names_no_store_is_told_where_its_locks_are(app, locks):
    """In one line beside the answer."""
    app.conf.lock_store = None
    ended = locks("list", "nothing:*")
    assert ended.code == 0
    assert "no lock_store is set" in ended.err.splitlines()[0]


def test_a_broker_that_cannot_be_asked_is_said_in_the_answer(app, locks):
    """What the store knows is shown nevertheless."""
    app.conf.broker_url = "redis://:secret@127.0.0.1:1/0"
    take(app.conf.lock_store, "wallet:42")
    ended = locks("show", "wallet:42", "--timeout", "1", "--json")
    [holder] = ended.said[0]["holders"]
    assert (ended.code, holder["job"], holder["task_id"]) == (0, None, "6b1c")
    assert holder["job_unknown"].startswith("the broker could not be asked")
    assert "secret" not in ended.out + ended.err


def test_no_worker_at_all_is_said_in_the_answer(app, locks):
    """The time they are given is bounded."""
    take(app.conf.lock_store, "wallet:42")
    assert "no worker answered" in locks("show", "wallet:42", "--timeout", "0.2").out


def test_no_worker_of_celery_is_asked_about_an_rq_job(app, locks, monkeypatch):
    """Its holder says what it is, and the page says the same."""
    monkeypatch.setattr(Question, "ask", lambda *_: pytest.fail("workers were asked"))
    url = app.conf.lock_store
    Locks(url).store.acquire(Claim("invoice:7", new_owner("rq:shop.send[6b1c]"), 30.0))
    ended = locks("show", "invoice:7", "--json")
    [holder] = ended.said[0]["holders"]
    assert (ended.code, holder["job"]) == (0, None)
    assert holder["job_unknown"].startswith("it is held for an RQ job")
    with contextlib.closing(Locks(url)) as mine:
        [told] = Window(mine.store, url, app).jobs({"key": "invoice:7"})["jobs"]
    assert told["why"] == holder["job_unknown"]


def test_celery_offers_the_command(tmp_path):
    """Its help names the verbs, options that an app adds to all commands are taken, and the store is the app's."""
    (tmp_path / "shop.py").write_text(APP.format(folder=tmp_path))
    path = doors(tmp_path / "doors") + f":{tmp_path}"
    ended = celery("-A", "shop", "locks", "--help", PYTHONPATH=path)
    assert ended.code == 0, ended.err
    assert all(f"  {verb} " in ended.out for verb in VERBS)
    lock = Locks(f"file://{tmp_path}/locks").lock("wallet:42")
    with lock as lease:
        ended = celery("-A", "shop", "locks", "--zone", "there", "list", "--json", PYTHONPATH=path)
    assert (ended.code, [row["owner"] for row in ended.said]) == (0, [lease.owner])


def test_an_app_that_cannot_be_loaded_is_celerys_own_error(tmp_path):
    """We add nothing to it."""
    ended = celery("-A", "no_such_app", "locks", "list", PYTHONPATH=doors(tmp_path))
    assert ended.code == 2
    assert "Unable to load celery application" in ended.err


def test_both_doors_have_the_same_verbs():
    """Each a module of its own, with a help of its own."""
    for door in (command, main):
        context = click.Context(door)
        assert door.list_commands(context) == [*VERBS]
        for verb in VERBS:
            found = door.get_command(context, verb)
            assert found is importlib.import_module(f"celery_locks.cli.verbs.{verb}").verb
            assert (found.name, bool(found.help)) == (verb, True)
            assert "as_json" in {each.name for each in found.params}


def test_a_worker_that_starts_pays_for_no_verb():
    """Celery imports the command with its own; the verbs, and the clients of stores, are not imported with it."""
    code = "import json, sys, celery_locks.cli; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = json.loads(done.stdout)
    assert "celery_locks.cli.group" in imported
    assert not [
        name for name in imported if name.startswith(("celery_locks.cli.verbs", "redis", "sqlalchemy", "celery."))
    ]
