"""What is said twice or late to Redis, script by script."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Busy, Verdict
from celery_locks.stores.redis import RedisStore, scripts
from celery_locks.stores.several import Several
from tests.stores.contract import GivingUpContract
from tests.stores.contract.asking import claim, take, verdict
from tests.stores.contract.several import joint_claim, take_all
from tests.stores.places import straight
from tests.stores.redis_stores import give_up, opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.servers.redis import RedisServer
    from tests.stores.contract import GivesUp
    from tests.stores.places import Place


@pytest.fixture
def place(redis_url: str) -> Place:
    return straight(redis_url, opened)


class TestRedisGivingUp(GivingUpContract):
    games = 40

    @pytest.fixture
    def give_up(self) -> GivesUp:
        return give_up


def test_an_owner_that_gave_up_stays_out_while_others_come_and_go(store: RedisStore) -> None:
    """Holders that release after somebody gave up do not make Redis forget that one."""
    take(store, "wallet", "ben")
    give_up(store, "anna")
    assert store.release(claim("wallet", "ben"))
    take(store, "wallet", "cleo")
    assert store.release(claim("wallet", "cleo"))
    assert store.acquire(claim("wallet", "anna")) == Busy()


def test_a_release_is_repeated_well_after_others_came_and_went(store: RedisStore) -> None:
    """Whoever sends a release again hears that it was given back, also when two others have released since."""
    for owner in ("anna", "ben", "cleo"):
        take(store, "wallet", owner)
        assert store.release(claim("wallet", owner))
    assert store.release(claim("wallet", "anna"))


def test_owners_are_told_apart_to_the_last_letter(store: RedisStore) -> None:
    """An owner whose name begins or ends like that of one that is done is another owner."""
    take(store, "wallet", "owner 12")
    assert store.release(claim("wallet", "owner 12"))
    for other in ("owner 1", "owner 122", "wner 12", "1:owner 12", "owner 12 "):
        assert not store.release(claim("wallet", other))
        take(store, "wallet", other)
        assert store.release(claim("wallet", other))


def test_a_crowd_of_done_owners_is_cut_between_names(store: RedisStore) -> None:
    """Where the memory of done owners ends, no half name is taken for an owner."""
    names = [f"owner-{'x' * 33}{number:03}" for number in range(40)]
    for name in names:
        take(store, "wallet", name)
        assert store.release(claim("wallet", name))
    fragments = {name[:length] for name in names for length in range(1, len(name))}
    assert not any(store.release(claim("wallet", fragment)) for fragment in fragments)


def test_a_repeated_acquire_after_expiry_is_a_new_one(store: RedisStore) -> None:
    """The same request, sent again when its lease had run out unheard, gets a new lease with a higher fence."""
    first = take(store, "wallet", ttl=0.01)
    wait_until(lambda: store.inspect("wallet") is None, "the end of the lease")
    assert take(store, "wallet").fence > first.fence


def test_scripts_that_redis_forgot_are_sent_again(store: RedisStore, redis_server: RedisServer) -> None:
    """SCRIPT FLUSH before any verb costs one more round trip and nothing else."""

    def forget() -> None:
        redis_server.ask("SCRIPT", "FLUSH")

    forget()
    lease = take(store, "wallet")
    forget()
    assert verdict(store, lease) is Verdict.RENEWED
    forget()
    assert store.inspect("wallet") is not None
    forget()
    assert [holding.owner for holding in store.list()] == ["anna"]
    forget()
    assert store.release(lease.claim)
    take(store, "wallet", "ben")
    forget()
    assert store.force_release("wallet")


def test_there_is_one_script_a_verb() -> None:
    """Each is within a screen, and Redis knows it by the name that we call it."""
    verbs = [value for value in vars(scripts).values() if isinstance(value, scripts.Script)]
    assert len({script.sha for script in verbs}) == len(verbs) == 22
    files = list(Path(scripts.__file__).with_name("scripts").glob("*.lua"))
    assert max(len(file.read_text().splitlines()) for file in files) <= 70


def test_a_farewell_is_short() -> None:
    """With the script that it brings along for eight keys it is read in one piece, of which Redis takes 16 kB."""
    assert len(scripts.RELEASE.text) < 13_500


def test_a_late_request_of_a_dead_owner_is_refused(store: RedisStore) -> None:
    """It arrives after all that its process held was given back; nobody would release what it took."""
    assert not store.disown(claim("wallet", "anna"))
    assert store.acquire(claim("wallet", "anna")) == Busy()
    take(store, "wallet", "ben")


def test_what_a_dead_owner_held_is_given_back(store: RedisStore) -> None:
    """It is said that it held the key."""
    take(store, "wallet", "anna")
    assert store.disown(claim("wallet", "anna"))
    take(store, "wallet", "ben")


def test_one_that_gave_up_takes_nothing_over_of_several(store: RedisStore) -> None:
    """Its request to come after another arrives late: that one keeps them all."""
    keys = ("a", "b", "c")
    lease = take_all(store, keys)
    for key in keys:
        give_up(store, "ben", key)
    assert Several(store).acquire(joint_claim(keys, "ben")._replace(after="anna")) == Busy()
    assert Several(store).renew([lease]) == [Verdict.RENEWED]
