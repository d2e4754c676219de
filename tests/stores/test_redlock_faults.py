"""Redlock keeps what it promises while holders die or sleep and a node is killed or hangs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.stores.contract import FaultContract
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.redlock import RedlockNodes


class _Faults(FaultContract):
    @pytest.fixture
    def url(self, redlock_url: str) -> str:
        return redlock_url


class TestOneOfFiveKilled(_Faults):
    """One node is killed, and comes back empty when all leases of that time are over."""

    @pytest.fixture
    def upset(self, redlock_nodes: RedlockNodes) -> Callable[[], object]:
        def killed() -> None:
            redlock_nodes.nodes[1].kill()
            _pass(1.2 * self.fault_ttl)
            redlock_nodes.nodes[1].start()

        return killed


class _Upset(_Faults):
    # What becomes of killed and frozen holders does not depend on it.
    test_a_killed_holder_is_followed = None
    test_a_frozen_holder_does_not_write_over_the_next = None


class TestOneAfterTheOtherHung(_Upset):
    """Two nodes hang at a time, past every ttl, and then two others: what they did late is undone, and costs nobody."""

    @pytest.fixture
    def upset(self, redlock_nodes: RedlockNodes) -> Callable[[], object]:
        def hung() -> None:
            for pair in (redlock_nodes.nodes[:2], redlock_nodes.nodes[2:4]):
                for node in pair:
                    node.pause()
                _pass(1.2 * self.fault_ttl)
                for node in pair:
                    node.resume()
                _pass(0.3)

        return hung


class TestAllRestartedEmpty(_Upset):
    """All nodes are restarted and forget everything: two may hold then, and their fences tell them apart."""

    upset_excludes = False

    @pytest.fixture
    def upset(self, redlock_nodes: RedlockNodes) -> Callable[[], object]:
        def restarted() -> None:
            for node in redlock_nodes.nodes:
                node.kill()
                node.start()

        return restarted


def _pass(seconds: float) -> None:
    """What holders do in that time is the test."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end, "holders to go on for a while", seconds + 10)
