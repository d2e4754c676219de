"""The picture of the page in the docs: `python -m tests.web.picture` makes it again, as a test does."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from celery_locks.lease import Holding
from celery_locks.stores.memory import MemoryStore
from celery_locks.stores.operations import Conflict, Queues, Remembers, Tally, Waiter
from tests.servers.chromium import Chromium
from tests.web.browser import Tab
from tests.web.visitor import served

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PICTURE = Path(__file__).parents[2] / "docs" / "web.png"
WIDTH, SCALE = 960, 0.75
#: Key, holder, for how long it has it, what is left of its lease, how many wait.
_HELD = (
    ("wallet:42", "bank.withdraw[6b1cf0c2]@web1:4711", 72.4, 28.3, 3),
    ("report:2026-11", "bank.report[0f3c6ad1]@web2:311", 341.0, 24.9, 1),
    ("import:daily", "lock@cron:88", 2.2, 29.4, 0),
)
_TALLIES = (
    ("wallet:42", 118, 402.7, 72.4),
    ("report:2026-11", 31, 655.1, 341.0),
    ("tenant:acme", 6, 9.9, 9.6),
)
#: Who waits for the first of them, where, and since when.
_LINE = (
    ("3b1d20a6c1f7e094", "slot", 70.1),
    ("c02e3fd94a7785b1", "queue", 41.0),
    ("9d4c1f60b82e7a35", "away", 1.3),
)


class _Day(MemoryStore, Queues, Remembers):
    """A store on a busy day."""

    fence_is_time = True

    def __init__(self) -> None:
        super().__init__()
        self._now = time.time()
        self._looks = 0
        self._holdings = [
            Holding(key, f"{owner}#{number:016x}", int((self._now - age) * 1e6), left)
            for number, (key, owner, age, left, _) in enumerate(_HELD, 0x66148C16FD45C264)
        ]

    def list(self, pattern: str = "*") -> Iterator[Holding]:
        del pattern
        # In the first looks some had not come yet.
        self._looks += 1
        yield from self._holdings[: 1 + min(self._looks // 2, 2)]

    def holders(self, key: str) -> list[Holding]:
        return [each for each in self._holdings if each.key == key]

    def waiting(self, keys: Sequence[str]) -> list[int]:
        counts = {key: count for key, *_, count in _HELD}
        return [counts[key] for key in keys]

    def line(self, key: str, most: int = 100) -> list[Waiter]:
        del key, most
        return [Waiter(ticket, where, self._now - ago) for ticket, where, ago in _LINE]

    def most_contended(self, most: int = 20) -> list[Tally]:
        return [Tally(*each) for each in _TALLIES[:most]]

    def conflicts(self, key: str) -> list[Conflict]:
        del key
        (_, holder, age, *_), *_ = _HELD
        return [
            Conflict(self._now - ago, f"bank.withdraw[{ticket[:8]}]@web2:311#1", holder, age - ago)
            for ticket, _, ago in reversed(_LINE)
        ]


def picture(chromium: Chromium) -> bytes:
    """The page of that store with one key open, as PNG."""
    with served(_Day()) as site, contextlib.closing(Tab(chromium, WIDTH)) as tab:
        tab.prefer("light")
        tab.open(site.url)
        for looks in range(2, 9):
            tab.reads("#rows", _HELD[0][0])
            tab.click("#filter button")
            tab.wait(
                f"document.querySelector('#held-chart path')?.getAttribute('d').split('L').length >= {looks}", "a look"
            )
        tab.click("#rows .link")
        tab.reads("#one-body", "For how long it had been held")
        tab.wait("document.querySelectorAll('#holds rect').length", "the charts")
        tab.value("document.activeElement.blur()")
        return tab.picture(SCALE)


def main() -> None:
    """Make it again."""
    with contextlib.closing(Chromium()) as chromium:
        chromium.start()
        PICTURE.write_bytes(picture(chromium))


if __name__ == "__main__":
    main()
