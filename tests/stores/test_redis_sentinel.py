"""Redis behind Sentinel, and its failover."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Verdict
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.redis_stores import QUICK, opened, sentinel_url, within_reason
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.stores.redis import RedisStore
    from tests.servers.redis_groups import SentinelGroup


@pytest.fixture
def group(sentinel_group: SentinelGroup) -> SentinelGroup:
    sentinel_group.flush()
    return sentinel_group


def _in_sync(group: SentinelGroup) -> bool:
    """The replica has everything that the master has written."""
    offsets = [server.ask("INFO", "replication")["master_repl_offset"] for server in (group.master, group.replica)]
    return offsets[0] == offsets[1]


def test_a_lock_outlives_a_failover(group: SentinelGroup) -> None:
    """A replica that was in sync goes on with the lock: same owner, same fence; renewed and released as ever.

    While the master is away every verb is an outage, in bounded time, and never a wrong answer.
    """
    with opened(sentinel_url(group) + QUICK) as store:
        lease = take(store, "wallet", ttl=60)
        wait_until(lambda: _in_sync(group), "the replica to have the lock")
        old = group.master
        old.kill()
        outages = _outages_until_answered(store)
        assert outages
        busy = refused(store, "wallet", "ben")
        assert busy.holder == "anna"
        assert verdict(store, lease) is Verdict.RENEWED
        assert group.master is not old
        assert store.release(lease.claim)
        assert take(store, "wallet", "cleo").fence > lease.fence


def _outages_until_answered(store: RedisStore) -> list[str]:
    """Ask until there is an answer, which must be no; each outage must come within a few timeouts."""
    outages: list[str] = []

    def answered() -> bool:
        try:
            with within_reason():
                answer = store.acquire(claim("wallet", f"ben {len(outages)}"))
        except StoreUnavailable as error:
            outages.append(str(error))
            return False
        assert isinstance(answer, Busy), f"{answer} of a key that is held"
        return True

    wait_until(answered, "an answer after the failover", timeout=30)
    return outages


def test_a_hung_master_is_an_outage_until_the_failover(group: SentinelGroup) -> None:
    """A frozen master costs its timeout, not for ever; its locks live on at the replica."""
    with opened(sentinel_url(group) + QUICK) as store:
        take(store, "wallet", ttl=60)
        wait_until(lambda: _in_sync(group), "the replica to have the lock")
        group.master.pause()
        outages = _outages_until_answered(store)
        assert any("out of reach" in outage for outage in outages)


def test_sentinels_that_are_gone_are_skipped(group: SentinelGroup) -> None:
    """One sentinel that answers is enough to find the master, whichever it is."""
    for gone in group.sentinels[:2]:
        gone.kill()
    with opened(sentinel_url(group) + QUICK) as store:
        lease = take(store, "wallet")
        assert verdict(store, lease) is Verdict.RENEWED


def test_no_sentinel_at_all_is_an_outage(group: SentinelGroup) -> None:
    """When none answers nobody knows the master: one line that says so."""
    for gone in group.sentinels:
        gone.kill()
    with opened(sentinel_url(group) + QUICK) as store, pytest.raises(StoreUnavailable, match="no Sentinel knows"):
        store.acquire(claim("wallet"))


def test_an_unknown_master_is_an_outage_that_names_it(group: SentinelGroup) -> None:
    """A name that the sentinels do not watch."""
    url = sentinel_url(group).replace("/mymaster/", "/hismaster/")
    with opened(url) as store, pytest.raises(StoreUnavailable, match=r"'hismaster'.*check name and hosts") as caught:
        store.acquire(claim("wallet"))
    assert "\n" not in str(caught.value)
