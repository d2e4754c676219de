"""The errors: what they say, and that they survive a result backend."""

from __future__ import annotations

import json
import pickle

import pytest
from celery import Celery
from celery.backends.cache import CacheBackend

from celery_locks import LockConfigError, LockError, LockLost, LockNotOwned, LockTimeout, StoreUnavailable
from celery_locks.lease import Lease

KINDS = [LockError, LockTimeout, LockLost, LockNotOwned, StoreUnavailable, LockConfigError]


def backend(serializer: str) -> CacheBackend:
    app = Celery("bank", set_as_current=False)
    return CacheBackend(app=app, backend="memory://", serializer=serializer)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def error(request: pytest.FixtureRequest) -> LockError:
    return request.param("'wallet:42' is taken: try later", "wallet:42", "withdraw@host:7#ab")


def test_every_error_is_a_lock_error(error):
    """One `except LockError` catches whatever goes wrong with a lock."""
    assert isinstance(error, LockError)


def test_an_error_reads_as_its_message(error):
    """The text is the message alone, without key and holder behind it."""
    assert str(error) == error.message == "'wallet:42' is taken: try later"


def test_an_error_survives_pickling(error):
    """A pickled error comes back with its type, message, key and holder."""
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(back) is type(error)
    assert (back.message, back.key, back.holder) == (error.message, error.key, error.holder)


def test_an_error_survives_a_json_result_backend(error):
    """What a JSON backend stores comes back as the same type with message, key and holder."""
    json_backend = backend("json")
    stored = json.loads(json.dumps(json_backend.prepare_exception(error)))
    back = json_backend.exception_to_python(stored)
    assert type(back) is type(error)
    assert (back.message, back.key, back.holder) == (error.message, error.key, error.holder)


def test_an_error_survives_a_pickle_result_backend(error):
    """What a pickle backend stores comes back as the same type with message, key and holder."""
    pickle_backend = backend("pickle")
    back = pickle_backend.exception_to_python(pickle_backend.prepare_exception(error))
    assert type(back) is type(error)
    assert (back.message, back.key, back.holder) == (error.message, error.key, error.holder)


def test_a_stored_traceback_does_not_change_the_error(error):
    """An error raised from another one, as an outage is, is stored like any."""
    json_backend = backend("json")
    try:
        raise error from OSError("refused")
    except LockError as raised:
        back = json_backend.exception_to_python(json_backend.prepare_exception(raised))
    assert back.args == error.args


def test_an_error_about_no_key_has_none():
    """Key and holder are None where they are not known."""
    error = LockConfigError("lock_store is neither a URL nor an alias")
    assert (error.key, error.holder) == (None, None)


def test_an_error_with_fewer_arguments_than_stored_still_answers():
    """A backend that gives back no arguments leaves key and holder None instead of failing."""
    error = LockTimeout.__new__(LockTimeout)
    error.args = ("taken",)
    assert (error.message, error.key, error.holder) == ("taken", None, None)


def test_a_timeout_says_key_holder_and_what_to_do(room):
    """The error for a taken key can be acted on without looking anything up."""
    room.take(owner="withdraw@host:7#ab")
    with pytest.raises(LockTimeout) as caught:
        room.locks.run("wallet:42", int)
    assert str(caught.value) == "'wallet:42' is held by withdraw@host:7#ab: try later, or wait longer"
    assert (caught.value.key, caught.value.holder) == ("wallet:42", "withdraw@host:7#ab")


def test_a_loss_says_key_and_what_to_do(room):
    """The error for a lost lease says how it ended and what can be done."""
    lease = room.store.acquire(room.claim())
    assert isinstance(lease, Lease)
    lease.lose("the store says that it expired or was taken away")
    assert str(lease.loss()) == (
        "the lease of 'wallet:42' is gone: the store says that it expired or was taken away. Another owner may hold the"
        " key: undo or check what was done, and consider a longer ttl, a heartbeat, or the lease's fence"
    )
    assert lease.loss().key == "wallet:42"


def test_a_lock_that_is_not_ours_says_who_has_it(room):
    """Releasing a lock that somebody else took over names the holder and the mend."""
    lock = room.locks.lock("wallet:42")
    lock.acquire()
    room.steal()
    with pytest.raises(LockNotOwned) as caught:
        lock.release()
    assert str(caught.value) == (
        "'wallet:42' cannot be released: thief has it; released already, or its lease ran out: use a longer ttl or"
        " heartbeat=True"
    )
    assert caught.value.holder == "thief"
