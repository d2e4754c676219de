"""The verbs of the command line, without a server."""

from __future__ import annotations

import os
import uuid

import pytest

from celery_locks import Locks
from celery_locks.cli import main
from celery_locks.cli.printing import moment, span
from celery_locks.lease import Claim, new_owner
from celery_locks.stores import schemes
from celery_locks.stores.base import Store
from tests.commands import celery_locks, run


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def locks(url):
    return Locks(url)


@pytest.fixture
def on_disk(tmp_path):
    return f"file://{tmp_path}/locks"


def take(locks: Locks, key: str, name: str = "lock"):
    return locks.store.acquire(Claim(key, new_owner(name), 30.0))


def test_a_list_is_a_table_that_a_script_can_cut(url, locks):
    """A line a key below one line of titles, each column beginning where its title does."""
    for key in ("wallet:1", "a long key with spaces: wallet:2", "report:1"):
        take(locks, key, "shop.withdraw[6b1c]")
    ended = celery_locks(url, "list", "*wallet*")
    titles, *lines = ended.out.splitlines()
    assert titles.split() == ["KEY", "AGE", "TTL", "WAITING", "HOLDER"]
    assert [line[: titles.index("AGE")].strip() for line in lines] == ["a long key with spaces: wallet:2", "wallet:1"]
    assert {line[titles.index("HOLDER") :] for line in lines} == {
        f"shop.withdraw[6b1c]@{os.uname().nodename}:{os.getpid()}"
    }


def test_a_long_list_comes_a_page_at_a_time(url, locks):
    """Each key once, with the titles once."""
    for number in range(450):
        take(locks, f"wallet:{number}")
    lines = celery_locks(url, "list").out.splitlines()
    assert len(lines) == 451
    assert len([line for line in lines if line.startswith("KEY")]) == 1
    assert len(celery_locks(url, "list", "--json").said) == 450


def test_an_empty_list_is_an_answer(url):
    """Exit code 0 and nothing on standard output, but a note for who reads it."""
    ended = celery_locks(url, "list", "none:*")
    assert (ended.code, ended.out) == (0, "")
    assert "no key that matches 'none:*' is held" in ended.err
    assert celery_locks(url, "list", "--json").out == ""


def test_a_key_cannot_play_with_the_terminal(url, locks):
    """Line ends and control letters are shown as what they are, and JSON gives them back as they were."""
    odd = "a\nb\x1b[31m\u202e"
    take(locks, odd)
    out = celery_locks(url, "list").out + celery_locks(url, "show", odd).out
    assert out.isprintable() or {letter for letter in out if not letter.isprintable()} == {"\n"}
    assert "a\\nb\\x1b[31m\\u202e" in out
    assert celery_locks(url, "list", "--json").said[0]["key"] == odd


def test_a_free_key_is_exit_code_1(url):
    """For `show` and for `release`."""
    assert celery_locks(url, "show", "wallet:42").code == 1
    assert celery_locks(url, "show", "wallet:42", "--json").said[0]["held"] is False
    ended = celery_locks(url, "release", "wallet:42")
    assert (ended.code, ended.out) == (1, "")
    assert "is free: nothing was changed" in ended.err


def test_show_says_why_it_does_not_know_the_job(url, locks):
    """Without an app nobody can be asked; and plain code is no job."""
    take(locks, "by job", "shop.withdraw[6b1c]")
    take(locks, "by hand")
    take(locks, "by a workflow", "baton[1.2]")
    take(locks, "by its errback", "baton[error]")
    take(locks, "by rq", "rq:shop.withdraw[6b1c]")
    assert "celery -A proj locks show" in celery_locks(url, "show", "by job").out
    assert "held by plain code" in celery_locks(url, "show", "by hand").out
    assert "held for step 1.2 of a workflow" in celery_locks(url, "show", "by a workflow").out
    [told] = celery_locks(url, "show", "by its errback", "--json").said[0]["holders"]
    assert (told["task"], told["task_id"], told["step"]) == (None, None, "error")
    assert "the errback of a workflow" in told["job_unknown"]
    [told] = celery_locks(url, "show", "by rq", "--json").said[0]["holders"]
    assert (told["task"], told["task_id"]) == ("shop.withdraw", "6b1c")
    assert told["job_unknown"].startswith("it is held for an RQ job, of which Celery's workers know nothing")
    assert "Job.fetch('6b1c', connection)" in told["job_unknown"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shop.withdraw[6b1c]", "lock_on_lost"),
        ("lock", "heartbeat"),
        ("baton[1.2]", "It was a workflow's: its message is still on its way"),
    ],
)
def test_release_says_what_becomes_of_the_holder(url, locks, name, said):
    """A job, plain code and a workflow learn it in different ways."""
    lease = take(locks, "wallet:42", name)
    ended = celery_locks(url, "release", "wallet:42", "--force")
    assert (ended.code, locks.locked("wallet:42")) == (0, False)
    assert f"(fence {lease.fence})" in ended.out
    assert said in ended.out


def test_a_place_in_a_queue_is_no_lock_of_a_running_job(url, locks):
    """To give it to another one does nothing to the job whose it was."""
    take(locks, "unique:shop.withdraw:7", "shop.withdraw[6b1c]")
    out = celery_locks(url, "release", "unique:shop.withdraw:7", "--force").out
    assert "another with its key can be sent" in " ".join(out.split())
    assert "lock_on_lost" not in out


def test_without_a_terminal_nothing_is_released_unless_forced(url, locks):
    """A script that forgot --force gets exit code 2, and the fix."""
    take(locks, "wallet:42")
    ended = celery_locks(url, "release", "wallet:42", input="y\n")
    assert (ended.code, locks.locked("wallet:42")) == (2, True)
    assert "--force" in ended.err


def test_another_fence_than_the_one_named_keeps_its_key(url, locks):
    """Exit code 1, and who has it."""
    lease = take(locks, "wallet:42")
    ended = celery_locks(url, "release", "wallet:42", "--force", "--if-fence", lease.fence + 1)
    assert (ended.code, locks.locked("wallet:42")) == (1, True)
    assert f"(fence {lease.fence}), not with fence {lease.fence + 1}" in ended.err
    ended = celery_locks(url, "release", "wallet:42", "--force", "--if-fence", lease.fence + 1, "--json")
    assert (ended.code, ended.said[0]["released"]) == (1, [])


def test_a_store_that_looks_first_says_so(url, locks):
    """Where fence and key are not compared in one step."""
    lease = take(locks, "wallet:42")
    ended = celery_locks(url, "release", "wallet:42", "--force", "--if-fence", lease.fence)
    assert ended.code == 0
    assert "cannot compare the fence and free the key in one step" in ended.err


def test_wrong_usage_is_exit_code_2(url):
    """An unknown verb, a URL that is none, an option too many, and no URL at all: one line with the fix."""
    assert celery_locks(url, "lst").code == 2
    assert celery_locks("bank", "list").code == 2
    assert "is not a store's URL" in celery_locks("bank", "list").err
    assert celery_locks(url, "release", "").code == 2
    ended = run(main, "list")
    assert (ended.code, "CELERY_LOCK_STORE" in ended.err) == (2, True)


def test_the_store_may_be_named_by_the_environment(url, locks, monkeypatch):
    """A URL with a password need not be seen by all who list processes; the prefix goes with it."""
    take(locks, "wallet:42")
    monkeypatch.setenv("CELERY_LOCK_STORE", url)
    assert [row["key"] for row in run(main, "list", "--json").said] == ["wallet:42"]
    monkeypatch.setenv("CELERY_LOCK_PREFIX", "other:")
    assert run(main, "list", "--json").said == []


def test_a_store_that_shows_nothing_says_so(monkeypatch):
    """Exit code 4, for a store of somebody else's that has the verbs alone."""
    monkeypatch.setitem(schemes.BUILT_IN, "memory", _Home())
    ended = celery_locks("memory://", "list")
    assert ended.code == 4
    assert "cannot show what it holds" in ended.err


def test_what_a_store_cannot_do_is_exit_code_4(on_disk):
    """Slots where each key has one holder, and the statements of a table where there is none."""
    assert celery_locks(on_disk, "slots", "api").code == 4
    assert celery_locks(on_disk, "init", "--ddl").code == 4


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0s"),
        (59.96, "59.9s"),
        (60, "1m 00s"),
        (3599, "59m 59s"),
        (3660, "1h 01m"),
        (90_000, "1d 01h"),
        (None, "-"),
    ],
)
def test_a_length_of_time_is_short(seconds, shown):
    """Two units at most."""
    assert span(seconds) == shown


def test_a_fence_that_is_no_time_breaks_nothing():
    """A lock that something else wrote may have any number for a fence."""
    assert moment(1e30) is None
    assert moment(0.5) == "1970-01-01T00:00:00.500000+00:00"


class _Bare(Store):
    def acquire(self, claim):
        raise NotImplementedError

    renew = release = acquire


class _Home:
    def factory(self, _scheme):
        return lambda _url, **_: _Bare()
