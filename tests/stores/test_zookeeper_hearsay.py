"""What a follower heard of a session it tells the leader when it is asked: the leader knows no more."""

from __future__ import annotations

import contextlib
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from celery_locks.lease import Lease, Verdict
from tests.servers import proxy as proxies
from tests.servers.missing import require
from tests.servers.programs import JAVA, ZOOKEEPER
from tests.servers.zookeeper import ZooKeeperEnsemble, ZooKeeperServer
from tests.stores.contract.asking import claim, take, verdict
from tests.stores.zookeeper_stores import opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores.zookeeper import ZooKeeperStore

#: The leader asks each second; a session is two and a half ticks long.
SETTINGS = {"tickTime": "2000", "initLimit": "10", "syncLimit": "10"}
GRANTED = 5
PING = 5
#: When holders speak, in seconds around a question of the leader: just before it, just after the next one, which so
#: hears nothing, and before the one after that, which is about to be cut off.
MOMENTS = [(-0.03 - early, 1.03 + early, 1.94 - early) for early in (0.0, 0.02, 0.05, 0.1, 0.2, 0.35)]


class Wiretap:
    """Listens to what a follower tells the leader: when it was asked, and of which sessions it told, last."""

    def __init__(self) -> None:
        self.asked = 0.0
        self.told: dict[int, float] = {}
        self._said = b""

    def hear(self, data: bytes) -> None:
        """Read whole packets: a kind, a number, data, and for each of some names two texts."""
        self._said += data
        with contextlib.suppress(struct.error):
            while self._said:
                (kind,) = struct.unpack_from(">i", self._said)
                told, end = self._text(12)
                (names,) = struct.unpack_from(">i", self._said, end)
                end += 4
                for _ in range(2 * max(names, 0)):
                    _, end = self._text(end)
                self._note(kind, told)
                self._said = self._said[end:]

    def _text(self, start: int) -> tuple[bytes, int]:
        (length,) = struct.unpack_from(">i", self._said, start)
        end = start + 4 + max(length, 0)
        return struct.unpack_from(f"{max(length, 0)}s", self._said, start + 4)[0], end

    def _note(self, kind: int, told: bytes) -> None:
        if kind == PING:
            self.asked = time.monotonic()
            self.told.update((number, self.asked) for number, _ in struct.iter_unpack(">qi", told))


class Cut(NamedTuple):
    """An ensemble, one follower of it, and what passes between that one and the leader."""

    ensemble: ZooKeeperEnsemble
    follower: ZooKeeperServer
    tap: Wiretap


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cut]:
    """Three servers with the ticks of a real ensemble."""
    require(ZOOKEEPER, JAVA)
    taps: dict[object, Wiretap] = {}
    push = proxies._Flow.push

    def overheard(self: proxies._Flow, data: bytes) -> None:
        if self._direction == "requests":
            taps.setdefault(self._proxy, Wiretap()).hear(data)
        push(self, data)

    monkeypatch.setattr(proxies._Flow, "push", overheard)
    ensemble = ZooKeeperEnsemble(cuttable=True, **SETTINGS)
    try:
        ensemble.start()
        follower = next(node for node in ensemble.nodes if node.mode() == "follower")
        ends = ensemble.nodes.index(follower) + 1, ensemble.nodes.index(ensemble.leader) + 1  # type: ignore[arg-type]
        yield Cut(ensemble, follower, taps[ensemble.between[ends]])
    finally:
        ensemble.close()


def until(moment: float) -> None:
    wait_until(lambda: time.monotonic() >= moment, "the moment to speak", interval=0.002)


def believes_too_long(store: ZooKeeperStore, tap: Wiretap) -> float:
    """Seconds for which it believes in its session after the leader may have ended it."""
    client = store._session._client
    assert client is not None
    believed = client.until
    return float(believed - tap.told[client.session] - GRANTED)


def test_a_holder_counts_from_what_the_leader_was_told(cut: Cut) -> None:
    """However a holder's words fall between the leader's questions, it stops before the leader may end its session.

    When its server is cut off right before a question, and others get the keys, no holder believes that it holds.
    """
    with contextlib.ExitStack() as stack:
        stores = [stack.enter_context(opened(f"{cut.follower.url}?session_timeout={GRANTED}")) for _ in MOMENTS]
        other = stack.enter_context(opened(f"{cut.ensemble.leader.url}?session_timeout=30"))
        leases = [take(store, f"wallet {number}") for number, store in enumerate(stores)]
        wait_until(lambda: all(store._session.number in cut.tap.told for store in stores), "the leader to be told")
        for _ in range(2):
            before = cut.tap.asked
            wait_until(lambda: cut.tap.asked > before, "a question of the leader")  # noqa: B023 - called at once
            begin = cut.tap.asked + 1
            for moment, number in sorted((each, i) for i, row in enumerate(MOMENTS) for each in row):
                until(begin + moment)
                assert verdict(stores[number], leases[number]) is Verdict.RENEWED
                assert believes_too_long(stores[number], cut.tap) < 0
        cut.ensemble.cut_off(cut.follower)
        _others_get_them(other, leases)
        # So that the stores can say goodbye.
        cut.ensemble.heal()


def _others_get_them(other: ZooKeeperStore, leases: list[Lease]) -> None:
    waiting = dict(enumerate(leases))

    def are_taken() -> bool:
        for number, lease in list(waiting.items()):
            following = other.acquire(claim(lease.key, f"ben {time.monotonic()}"))
            if isinstance(following, Lease):
                assert not lease.held()
                assert following.fence > lease.fence
                del waiting[number]
        return not waiting

    wait_until(are_taken, "all keys to be taken by another", timeout=30)
