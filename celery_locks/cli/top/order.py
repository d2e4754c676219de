"""The orders in which locks are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from celery_locks.cli.top.reading import Line


def _ended(line: Line) -> float | None:
    left = line.seen.holding.remaining
    return None if left is None else -left


def _begun(line: Line) -> float | None:
    return None if line.seen.since is None else -line.seen.since


#: Each by a number, the highest first: the oldest, the soonest to end, those that the most wait for.
_NUMBERS: dict[str, Callable[[Line], float | None]] = {
    "age": _begun,
    "ttl": _ended,
    "waiting": lambda line: line.waiting,
    "conflicts": lambda line: line.conflicts,
}
NAMES = ("key", *_NUMBERS)


class Order(NamedTuple):
    """By one of the columns; or the other way round."""

    name: str = "waiting"
    is_turned: bool = False

    def chosen(self, name: str) -> Order:
        """What it is when a column is asked for: asked for twice it is turned round."""
        return Order(name, name == self.name and not self.is_turned)

    def of(self, lines: Iterable[Line]) -> list[Line]:
        """The lines in this order, and by key where that is the same. What is not known comes last either way."""
        by_key = sorted(lines, key=lambda line: (line.key, line.seen.owner.name))
        if self.name == "key":
            return by_key[::-1] if self.is_turned else by_key
        number = _NUMBERS[self.name]
        known = [(value, line) for line in by_key if (value := number(line)) is not None]
        known.sort(key=lambda each: each[0] if self.is_turned else -each[0])
        return [line for _, line in known] + [line for line in by_key if number(line) is None]
