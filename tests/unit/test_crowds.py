"""What a task or a lock asks for that several may hold, and who refuses it."""

from __future__ import annotations

import pytest

from celery_locks import LockConfigError, Locks, current_lease
from celery_locks.ticket import marked, ticket_of
from tests.unit import bank
from tests.unit.bank import options_of, refusal, withdraw


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", True, None, 10**7])
def test_slots_are_a_whole_number(value):
    """Of one or more, and no more than a store counts."""
    assert refusal(lock_slots=value) == (
        f"task bank.withdraw: lock_slots must be a whole number from 1 to 1000000, not {value!r}"
    )


@pytest.mark.parametrize("value", [0, 1, "yes", None])
def test_shared_is_yes_or_no(value):
    """And nothing else."""
    assert refusal(lock_shared=value) == f"task bank.withdraw: lock_shared must be True or False, not {value!r}"


def test_slots_and_shared_exclude_each_other():
    """Readers are as many as come: a number of them would be a third thing."""
    assert "slots=2 and shared=True make no sense together" in refusal(lock_slots=2, lock_shared=True)
    locks = Locks("memory://")
    with pytest.raises(LockConfigError, match="make no sense together"):
        locks.lock("api", slots=2, shared=True)


@pytest.mark.parametrize("option", [{"lock_slots": 3}, {"lock_shared": True}], ids=["slots", "shared"])
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///tmp/locks", "FileStore knows one"),
        ("postgresql+advisory://bank@localhost/bank", "AdvisoryStore knows one"),
        ("redlock://a,b,c", "a majority of independent servers can agree on one holder, and not on a set of holders"),
    ],
    ids=["file", "advisory", "redlock"],
)
def test_a_store_that_knows_one_holder_refuses_at_declaration(option, url, why):
    """With its reason, and the stores that can; so does a lock of plain code when it is made."""
    said = refusal(conf={"lock_store": url}, **option)
    assert said.startswith("task bank.withdraw: slots and shared locks need a store that knows several holders")
    assert why in said
    assert "take redis://, valkey://, sql+..., etcd:// or zookeeper://" in said
    with pytest.raises(LockConfigError) as caught:
        Locks(url).lock("api", **{name.removeprefix("lock_"): value for name, value in option.items()})
    assert why in str(caught.value)


def test_without_a_store_there_are_no_slots():
    """Files on this machine would be what the first job gets: that is said before."""
    assert "without lock_store locks are files" in refusal(conf={"lock_store": None}, lock_slots=3)


def test_an_operators_words_are_refused_there_too():
    """A store that knows one holder has no number to change, and says who has the key all the same."""
    locks = Locks("file:///tmp/celery-locks-none")
    for ask in (lambda: locks.slots("api"), lambda: locks.set_slots("api", 3)):
        with pytest.raises(LockConfigError, match="FileStore knows one"):
            ask()
    with pytest.raises(LockConfigError, match="slots must be a whole number"):
        Locks("memory://").set_slots("api", 0)


def test_a_setting_is_the_default(monkeypatch):
    """Of all tasks that say nothing else, from the app's configuration or from the environment."""
    assert options_of(bank.task(withdraw, conf={"lock_slots": 4})).slots == 4
    assert options_of(bank.task(withdraw, conf={"lock_slots": 4}, lock_slots=1)).slots == 1
    monkeypatch.setenv("CELERY_LOCK_SLOTS", "5")
    assert options_of(bank.task(withdraw)).slots == 5
    monkeypatch.setenv("CELERY_LOCK_SLOTS", "1")
    monkeypatch.setenv("CELERY_LOCK_SHARED", "yes")
    assert options_of(bank.task(withdraw)).shared


def test_a_job_asks_for_what_its_task_says():
    """Its claim has the slots, or shares."""

    def claimed(**options):
        def look():
            return current_lease().claim[6:8]

        return bank.task(look, **options)()

    assert claimed() == (1, False)
    assert claimed(lock_slots=3) == (3, False)
    assert claimed(lock_shared=True) == (1, True)


def test_work_is_done_under_one_of_several():
    """`Locks.run` takes slots and shared as `lock` does, and a place that is free."""
    locks = Locks("memory://")
    with locks.lock("api", slots=2):
        assert locks.run("api", lambda: len(locks.holders("api")), slots=2) == 2
        assert locks.run("api", lambda: 1, busy="taken") == "taken"
    with locks.lock("doc", shared=True):
        assert locks.run("doc", lambda: 1, shared=True, busy="taken") == 1
        assert locks.run("doc", lambda: 1, slots=2, busy="taken") == "taken"


def test_a_ticket_says_what_is_asked_for():
    """Now: who asks for something else when it comes back has the same name and date."""
    assert ticket_of("job@host#0123456789abcdef") == "0123456789abcdef"
    dated = f"1795292743062427-{ticket_of('job@host#0123456789abcdef', 3)}"
    assert dated == "1795292743062427-3.0123456789abcdef"
    assert marked(dated, 5, shared=False) == "1795292743062427-5.0123456789abcdef"
    assert marked(dated, 1, shared=True) == "1795292743062427-r.0123456789abcdef"
    assert marked(dated, 1, shared=False) == "1795292743062427-0123456789abcdef"
    assert marked("r.ab", 1, shared=True) == "r.ab"
