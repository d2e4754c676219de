"""Any order of holders, deaths, restarts and writes: what is written obeys the fences, and they never go down."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from celery_locks.errors import StaleFence
from celery_locks.lease import Lease
from tests.fencing.targets import Kind, Target, kinds
from tests.servers.missing import require
from tests.servers.programs import REDIS
from tests.servers.redis import RedisServer
from tests.stores.contract.asking import claim
from tests.stores.redis_stores import LOCK, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores.redis import RedisStore

NAME = "record"
#: Time passes only where a rule says so.
LONG = 3600.0
#: The more often one is here the more often it happens.
ACTIONS = (
    *["write"] * 4,
    *["follow"] * 3,
    *["write_at_last", "claim"] * 2,
    *["acquire", "expire", "crash", "restart"],
)


class Writers(RuleBasedStateMachine):
    """One key, its holders one after the other, and what each of them writes, however late."""

    def __init__(self, target: Target, servers: list[RedisServer]) -> None:
        super().__init__()
        self.target = target
        self.servers = servers
        self.leases: list[Lease] = []
        self.value, self.fence, self.count = "", 0, 0
        self.is_seen = False
        self.open = contextlib.ExitStack()
        target.prepare([NAME])

    @initialize(number=st.integers(0, 1))
    def begin(self, number: int) -> None:
        """The locks are in a server that keeps nothing over a restart, or in one that keeps all."""
        self.server = self.servers[number]
        self.server.flush()
        self.connect()

    def connect(self) -> None:
        self.store: RedisStore = self.open.enter_context(opened(self.server.url))

    # Not a rule each: hypothesis leaves some out of each example, and then nothing happens here.
    @rule(action=st.sampled_from(ACTIONS), place=st.integers(0, 5))
    def step(self, action: str, place: int) -> None:
        """What happens next; where it is about one of those who ever had the key, counted from the last."""
        if action in ("write", "write_at_last", "claim") and not self.leases:
            action = "acquire"
        if action in ("write", "claim"):
            getattr(self, action)(self.leases[-1 - place % len(self.leases)])
        else:
            getattr(self, action)()

    def acquire(self) -> None:
        """Somebody new asks; whoever has the key keeps it."""
        self.count += 1
        answer = self.store.acquire(claim("wallet", f"owner {self.count}", LONG))
        if isinstance(answer, Lease):
            assert answer.fence > max([0, *(lease.fence for lease in self.leases)])
            self.leases.append(answer)

    def expire(self) -> None:
        """The holder's time is over, and nobody tells it."""
        self.server.ask("PEXPIRE", LOCK, 0)

    def follow(self) -> None:
        """The holder's time is over, and somebody who waited for that comes next."""
        self.expire()
        before = len(self.leases)
        self.acquire()
        assert len(self.leases) == before + 1

    def crash(self) -> None:
        """The holder's process is gone without a release, and with it all that its client knew."""
        self.open.close()
        self.connect()

    def restart(self) -> None:
        """The lock server is killed, and comes back with what it has kept."""
        self.server.kill()
        self.server.start()

    def write(self, lease: Lease) -> None:
        """Any of those writes, in time or too late."""
        self.do(lease)

    def write_at_last(self) -> None:
        """Whoever got the key last may always write."""
        self.do(self.leases[-1])
        assert self.fence == self.leases[-1].fence

    def claim(self, lease: Lease) -> None:
        """Any of them claims, and writes nothing."""
        if not hasattr(self.target, "claim"):
            return
        if self.is_stale(lease):
            with pytest.raises(StaleFence):
                self.target.claim(NAME, lease)
        else:
            assert self.target.claim(NAME, lease) == self.value
            self.fence = lease.fence
        self.is_seen = False

    def do(self, lease: Lease) -> None:
        self.count += 1
        value = f"value {self.count}"
        if self.is_stale(lease):
            with pytest.raises(StaleFence):
                self.target.guarded(NAME, value, lease)
        else:
            self.target.guarded(NAME, value, lease)
            self.value, self.fence = value, lease.fence
        self.is_seen = False

    def is_stale(self, lease: Lease) -> bool:
        return lease.fence < self.fence

    @invariant()
    def what_is_there_is_what_was_accepted(self) -> None:
        """No other value, and no lower fence than any before. Looked at whenever somebody was there."""
        if self.is_seen:
            return
        self.is_seen = True
        assert self.target.read(NAME) == self.value
        assert self.target.fence(NAME) == self.fence

    def teardown(self) -> None:
        self.open.close()


@pytest.fixture(scope="module")
def lock_servers() -> Iterator[list[RedisServer]]:
    """One that keeps nothing over a restart, and one that has written down whatever it answered."""
    require(REDIS)
    with RedisServer() as forgetful, RedisServer(appendonly="yes", appendfsync="always") as careful:
        yield [forgetful, careful]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)
def test_no_order_lets_a_stale_write_land(
    kind: Kind, request: pytest.FixtureRequest, lock_servers: list[RedisServer]
) -> None:
    """A stale one never, a current one always; what is stored as the fence never goes down."""
    with contextlib.closing(kind.make(request.getfixturevalue(kind.server))) as target:
        # To find the shortest order that fails add Phase.shrink.
        checked = settings(
            max_examples=8, stateful_step_count=30, deadline=None, phases=[Phase.generate], database=None
        )
        run_state_machine_as_test(lambda: Writers(target, lock_servers), settings=checked)
