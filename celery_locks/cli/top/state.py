"""All that the view knows, and what it does with a key that is pressed. It asks nobody and draws nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from celery_locks.cli.top.order import Order
from celery_locks.cli.top.reading import Breach, Frame, Said, Subject, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.cli.top.reading import Line
    from celery_locks.sight import Seen

#: So many lines for a page.
PAGE = 20
_STEPS = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -PAGE, "page down": PAGE, "home": -(10**9), "end": 10**9}
_ORDERS = {"n": "key", "a": "age", "t": "ttl", "w": "waiting", "c": "conflicts"}


class Mode(Enum):
    """What the keys mean now."""

    LIST = auto()
    ONE_KEY = auto()
    FILTER = auto()
    ASKS = auto()


@dataclass
class Top:
    """The view. What is chosen is a holder and not a place: the lines move."""

    subject: Subject
    order: Order = field(default_factory=Order)
    frame: Frame | None = None
    trouble: Trouble | None = None
    mode: Mode = Mode.LIST
    said: str = ""
    #: As far as a filter has been typed.
    typed: str = ""
    #: Whose lock is to be broken, as it was shown when that was asked for.
    target: Breach | None = None
    is_over: bool = False
    _chosen: tuple[str, str] | None = None
    _place: int = 0
    _ordered: tuple[Frame, Order, list[Line]] | None = None

    @property
    def lines(self) -> list[Line]:
        """The locks in their order."""
        frame, order = self.frame, self.order
        if frame is None:
            return []
        # There may be thousands, and a key that is pressed asks several times.
        if self._ordered is None or self._ordered[0] is not frame or self._ordered[1] != order:
            self._ordered = frame, order, order.of(frame.lines)
        return self._ordered[2]

    @property
    def place(self) -> int:
        """Where the chosen one is. When it is gone, whoever has its place is chosen."""
        lines = self.lines
        where = next((at for at, line in enumerate(lines) if _name(line) == self._chosen), None)
        return max(0, min(self._place if where is None else where, len(lines) - 1))

    @property
    def chosen(self) -> Line | None:
        """The chosen one."""
        lines = self.lines
        return lines[self.place] if lines else None

    def hear(self, answer: Frame | Said | Trouble) -> None:
        """Take note of what the store said. What was asked before something else was is not what is shown now."""
        if isinstance(answer, Said):
            self.said = answer.text
        elif isinstance(answer, Trouble):
            # Since when it does not answer, and why not now.
            self.trouble = Trouble(answer.text, self.trouble.at if self.trouble else answer.at)
        elif answer.subject == self.subject:
            self._remember()
            self.frame, self.trouble = answer, None

    def press(self, key: str) -> Subject | Breach | None:
        """Do what a key means; what the store is to be asked for that, if anything."""
        self.said = ""
        return _MEANINGS[self.mode](self, key)

    def _in_list(self, key: str) -> Subject | None:
        if key in _STEPS:
            self._move(_STEPS[key])
        elif key in _ORDERS:
            self.order = self.order.chosen(_ORDERS[key])
        elif key == "enter" and (line := self.chosen):
            return self._look(Subject(self.subject.pattern, line.key), Mode.ONE_KEY)
        elif key == "/":
            self.mode, self.typed = Mode.FILTER, ""
        else:
            self._anywhere(key)
        return None

    def _of_one_key(self, key: str) -> Subject | None:
        if key in ("escape", "enter", "backspace", "left"):
            return self._look(Subject(self.subject.pattern), Mode.LIST)
        self._anywhere(key)
        return None

    def _anywhere(self, key: str) -> None:
        if key == "q":
            self.is_over = True
        elif key == "b" and (meant := self._meant()):
            self.target, self.mode = meant, Mode.ASKS

    def _meant(self) -> Breach | None:
        if self.mode is Mode.LIST:
            line = self.chosen
            return Breach(line.key, line.seen) if line else None
        holders = self._holders()
        if len(holders) > 1:
            self.said = "It has several holders: go back, and choose one of them"
        return Breach(str(self.subject.key), holders[0]) if len(holders) == 1 else None

    def _holders(self) -> list[Seen]:
        return self.frame.view.holders if self.frame and self.frame.view else []

    def _asked(self, key: str) -> Breach | None:
        """Only a plain yes is one."""
        target, self.target = self.target, None
        self.mode = Mode.ONE_KEY if self.subject.key is not None else Mode.LIST
        if key in ("y", "Y"):
            return target
        self.said = "Nothing was changed"
        return None

    def _filtered(self, key: str) -> Subject | None:
        if key == "enter":
            return self._look(Subject(_glob(self.typed)), Mode.LIST)
        if key == "escape":
            self.mode = Mode.LIST
        elif key == "backspace":
            self.typed = self.typed[:-1]
        elif len(key) == 1:
            self.typed += key
        return None

    def _look(self, subject: Subject, mode: Mode) -> Subject:
        """At something else: what is known of the one before says nothing of it."""
        self._remember()
        self.subject, self.mode, self.frame = subject, mode, None
        return subject

    def _move(self, steps: int) -> None:
        lines = self.lines
        if lines:
            place = max(0, min(self.place + steps, len(lines) - 1))
            self._choose(place, _name(lines[place]))

    def _remember(self) -> None:
        if line := self.chosen:
            self._choose(self.place, _name(line))

    def _choose(self, place: int, name: tuple[str, str]) -> None:
        self._place, self._chosen = place, name


_MEANINGS: dict[Mode, Callable[[Top, str], Subject | Breach | None]] = {
    Mode.LIST: Top._in_list,  # noqa: SLF001 - its own, told from one another by its mode
    Mode.ONE_KEY: Top._of_one_key,  # noqa: SLF001
    Mode.FILTER: Top._filtered,  # noqa: SLF001
    Mode.ASKS: Top._asked,  # noqa: SLF001
}


def _name(line: Line) -> tuple[str, str]:
    return line.key, line.seen.owner.name


def _glob(typed: str) -> str:
    """A word without a star is looked for anywhere in a key."""
    return typed if any(sign in typed for sign in "*?[") else f"*{typed}*" if typed else "*"
