"""The guard for whatever takes a write only if nothing has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_locks import LockConfigError, LockError, LockNotOwned, Locks, StaleFence
from celery_locks.fencing import guarded_write
from tests.fencing.leases import lease_of

if TYPE_CHECKING:
    from collections.abc import Callable


class _Sheet:
    """A place in memory, into which somebody else may write between a read and a write."""

    def __init__(self, value: int = 0, fence: int = 0) -> None:
        self.value, self.fence, self.version = value, fence, 0
        self.meanwhile: list[Callable[[], object]] = []

    def read(self) -> tuple[int, int, Any]:
        found = self.value, self.fence, self.version
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return found

    def write(self, value: int, fence: int, version: Any) -> bool:
        if version != self.version:
            return False
        self.put(value, fence)
        return True

    def put(self, value: int, fence: int) -> None:
        self.value, self.fence, self.version = value, fence, self.version + 1

    def __str__(self) -> str:
        return "of paper"


def test_what_is_read_is_what_is_written_over():
    """The new value is made from the one that is there, and given back; the fence is put beside it."""
    sheet = _Sheet(40, fence=5)
    assert guarded_write(sheet, lambda value: value + 2, lease=lease_of(6)) == 42
    assert (sheet.value, sheet.fence) == (42, 6)


@pytest.mark.parametrize("fence", [0, 6, 2**63 - 1])
def test_an_equal_fence_may_write_again(fence):
    """The same holder, and whoever is first."""
    sheet = _Sheet(fence=fence)
    assert guarded_write(sheet, lambda _: 1, lease=lease_of(fence or 1)) == 1


def test_a_stale_fence_is_refused_and_nothing_is_computed():
    """The error names the place, and both fences."""
    sheet = _Sheet(40, fence=7)
    with pytest.raises(StaleFence, match=r"_Sheet of paper was not written: fence 6 of 'wallet' is stale.*fence 7"):
        guarded_write(sheet, lambda _: pytest.fail("it was computed"), lease=lease_of(6))
    assert (sheet.value, sheet.version) == (40, 0)


def test_what_changed_meanwhile_is_read_again():
    """Nothing is lost of a write that came between, and it is not written over unseen."""
    sheet = _Sheet(10)
    sheet.meanwhile = [lambda: sheet.put(20, 6), lambda: sheet.put(30, 6)]
    assert guarded_write(sheet, lambda value: value + 1, lease=lease_of(6)) == 31


def test_the_next_holder_may_come_between_the_read_and_the_write():
    """Then the write is refused: a ghost that has read already does not write."""
    sheet = _Sheet(10)
    sheet.meanwhile = [lambda: sheet.put(20, 7)]
    with pytest.raises(StaleFence):
        guarded_write(sheet, lambda value: value + 1, lease=lease_of(6))
    assert sheet.value == 20


def test_the_one_before_may_come_between_too():
    """It had the lower fence and wrote in time; what it wrote is read, and is not lost."""
    sheet = _Sheet(10)
    sheet.meanwhile = [lambda: guarded_write(sheet, lambda _: 20, lease=lease_of(5))]
    assert guarded_write(sheet, lambda value: value + 1, lease=lease_of(6)) == 21


def test_tries_have_an_end():
    """Where others write all the time without the lock, the error says so and nothing was written."""
    sheet = _Sheet()
    sheet.meanwhile = [lambda: sheet.put(-1, 0)] * 50
    with pytest.raises(LockError, match=r"each of 10 times.*do not hold 'wallet'") as caught:
        guarded_write(sheet, lambda _: 1, lease=lease_of(6))
    assert caught.value.key == "wallet"
    assert sheet.value == -1


def test_the_running_job_hands_over_nothing():
    """And a lease of another key is refused, where the key is named."""
    sheet = _Sheet()
    assert Locks("memory://").run("wallet", lambda: guarded_write(sheet, lambda _: 1, key="wallet")) == 1
    with pytest.raises(LockNotOwned):
        guarded_write(sheet, lambda _: 2, key="other", lease=lease_of(7))
    assert sheet.value == 1


@pytest.mark.parametrize("fence", [0, -1, 2**63])
def test_a_store_without_fences_is_no_store_for_guards(fence):
    """All its holders would have the same one, and each would be let through."""
    with pytest.raises(LockConfigError, match="from 1 to 2"):
        guarded_write(_Sheet(), lambda value: value + 1, lease=lease_of(fence))
