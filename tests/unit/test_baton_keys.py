"""A workflow that holds several keys: all of them go from member to member, and all are free at the end."""

from __future__ import annotations

import json

import pytest
from celery import chain, chord, group

from celery_locks import LockConfigError, LockLost, StoreUnavailable, baton, current_lease, requeue
from celery_locks.canvas import plan_for
from celery_locks.canvas.carried import HEADER, found
from celery_locks.worker import MemberRequest
from celery_locks.worker.unplaced import unplaced
from tests.unit.relay import KEY, Relay
from tests.waiting import wait_until

A, B, C = "abc"
OTHER = "wallet:9"
BOTH = [OTHER, KEY]


def holders(relay: Relay) -> list[str]:
    """Who has the keys: one of each, without a number that is its own."""
    return [(relay.room.holder(key) or "free").partition("@")[0] for key in (KEY, OTHER)]


def is_free(relay: Relay) -> bool:
    return holders(relay) == ["free"] * 2


def sent(relay: Relay, *names: str, **options: object) -> None:
    baton(chain(*(relay.job(name) for name in names)), BOTH, **options).delay()


def test_all_go_from_member_to_member(relay: Relay):
    """While a message is on its way all are held for it, under the fence they had; behind the last they are free."""
    sent(relay, A, B, C)
    leases = []
    for name in (A, B, C):
        relay.bodies[name] = lambda _: leases.append(current_lease().fences)
    for step in ("1.1", "1.2"):
        relay.run()
        assert holders(relay) == [f"baton[{step}]"] * 2
    relay.run()
    assert relay.names == [A, B, C]
    assert leases[0].keys() == {*BOTH}
    assert leases == leases[:1] * 3
    assert is_free(relay)


@pytest.mark.parametrize("key", BOTH)
def test_one_that_is_taken_puts_the_first_back(relay: Relay, key: str):
    """It holds none of them meanwhile."""
    with relay.room.locks.lock(key):
        sent(relay, A, B)
        relay.run()
        assert relay.names == []
        assert [relay.room.holder(each) is None for each in BOTH] == [each != key for each in BOTH]
    relay.run_all()
    assert relay.names == [A, B]
    assert is_free(relay)


@pytest.mark.parametrize("key", BOTH)
def test_one_that_is_lost_ends_the_workflow(relay: Relay, key: str):
    """A member of which one key is taken away fails with LockLost, and frees the others; the next is not sent."""
    relay.bodies[A] = lambda _: relay.room.store.force_release(key)
    sent(relay, A, B)
    assert isinstance(relay.run().exception, LockLost)
    assert relay.is_empty()
    assert is_free(relay)


@pytest.mark.parametrize("key", BOTH)
@pytest.mark.parametrize("what", ["answer", "request"])
def test_what_is_lost_on_the_way_changes_nothing(relay: Relay, monkeypatch: pytest.MonkeyPatch, key: str, what: str):
    """One of the keys was given to the next, or was not, and nobody heard: it goes on under the same leases."""
    store, fences, lost = relay.room.store, [], []
    plain = store.acquire

    def acquire(claim):
        if claim.key == key and claim.in_common and not lost:
            lost.append(plain(claim) if what == "answer" else None)
            raise StoreUnavailable("unheard")
        return plain(claim)

    monkeypatch.setattr(store, "acquire", acquire)
    for name in (A, B):
        relay.bodies[name] = lambda _: fences.append(current_lease().fences)
    sent(relay, A, B)
    relay.run_all()
    assert relay.names == [A, B]
    assert lost
    assert fences[0] == fences[1]
    assert is_free(relay)


def test_a_retry_that_comes_while_they_are_handed_over_frees_none(relay: Relay, monkeypatch: pytest.MonkeyPatch):
    """Its message is sent first: it finds some of them handed over and others not, and waits until all are."""
    store, seen = relay.room.store, []
    plain = store.acquire

    def acquire(claim):
        taken = plain(claim)
        if claim.in_common and not seen:
            seen.append(holders(relay))
            relay.run()
            seen.append(holders(relay))
        return taken

    monkeypatch.setattr(store, "acquire", acquire)
    relay.bodies[A] = lambda task: None if task.request.retries else task.retry(countdown=0)
    sent(relay, A, B)
    relay.run()
    assert len(set(seen[0])) == 2, "one was handed over, and one was not"
    assert seen[0] == seen[1]
    assert holders(relay) == ["baton[1]"] * 2
    relay.run_all()
    assert relay.names == [A, A, B]
    assert is_free(relay)


def test_an_errback_frees_them_all(relay: Relay):
    """One that is sent has all of them next, under the same fences."""
    fences = []
    relay.bodies[A] = lambda _: (fences.append(current_lease().fences), 1 / 0)
    relay.bodies["undo"] = lambda _: fences.append(current_lease().fences)
    baton(chain(relay.job(A), relay.job(B)), BOTH).apply_async(link_error=relay.job("undo"))
    relay.run()
    assert holders(relay) == ["baton[error]"] * 2
    relay.run()
    assert relay.names == [A, "undo"]
    assert fences[0] == fences[1]
    assert is_free(relay)


def test_an_errback_that_is_called_has_them_all(relay: Relay):
    """They are held while Celery calls it, in the process in which the job failed."""
    seen = []

    def undo_called(_request, _error, _trace):
        seen.append(current_lease().keys)

    undo = relay.app.task(undo_called, name="undo_called", shared=False)
    relay.bodies[A] = lambda _: 1 / 0
    baton(relay.job(A), BOTH).apply_async(link_error=undo.s())
    relay.run()
    assert seen == [tuple(sorted(BOTH))]
    assert is_free(relay)


def test_members_of_a_group_share_them_all(relay: Relay):
    """None gives one back; what comes behind the group has them all."""
    marked = baton(chord(group(relay.job(A), relay.job(B)), relay.job(C)), BOTH)._marked({})
    first, second = marked.tasks
    for each in (first, second):
        each.apply_async()
        relay.run()
        assert len(set(holders(relay))) == 1
    marked.body.apply_async()
    relay.run()
    assert relay.names == [A, B, C]
    assert is_free(relay)


def test_a_revoked_message_frees_them_all(relay: Relay):
    """They were on their way to this one alone."""
    sent(relay, A, B)
    relay.run()
    unplaced.add(MemberRequest(relay.message(), app=relay.app, task=relay.step))
    wait_until(lambda: is_free(relay), "the keys to be free")
    assert relay.names == [A]


def test_an_eager_workflow_has_them_all(relay: Relay):
    """Under one lock of the caller."""
    baton(chain(relay.job(A), relay.job(B)), BOTH).apply()
    assert relay.names == [A, B]
    assert is_free(relay)


def test_a_message_that_waits_for_any_of_them_waits_for_the_workflow(relay: Relay):
    """In line for one of them, it is held and called as the workflow's options say; for another key it is not."""
    sent(relay, A, B)
    headers = relay.message().headers
    for key in BOTH:
        plan = plan_for(relay.step, {**headers, requeue.KEY: key, requeue.TICKET: "1-ticket"})
        assert plan.keys((), {}) == tuple(sorted(BOTH))
    assert plan_for(relay.step, {**headers, requeue.KEY: "its own", requeue.TICKET: "1-ticket"}) is None


def test_a_message_of_one_key_is_as_it_was(relay: Relay):
    """Workers that know nothing of several keys read it, and theirs is read."""
    for keys in (KEY, [KEY], BOTH):
        said = json.loads(baton(relay.job(A), keys)._marked({}).options["headers"][HEADER])
        assert said.get("others", []) == ([OTHER] if keys is BOTH and OTHER > KEY else [KEY] if keys is BOTH else [])
        assert found({HEADER: json.dumps(said)}).keys == tuple(sorted({*keys} if keys is not KEY else {KEY}))
    assert "others" not in json.loads(baton(relay.job(A), [KEY])._marked({}).options["headers"][HEADER])


@pytest.mark.parametrize("keys", [[], [""], ["a", 7]])
def test_keys_that_cannot_be(relay: Relay, keys):
    """Are refused before anything is sent."""
    with pytest.raises(LockConfigError):
        baton(relay.job(A), keys)


def test_a_mistake_names_them_all(relay: Relay):
    """As they are taken: sorted, and each once."""
    with pytest.raises(LockConfigError, match=r"baton on \['wallet:7', 'wallet:9'\]: .*ends in a group"):
        baton(group(relay.job(A), relay.job(B)), [*BOTH, KEY])
