"""Figures, the targets they are held against, and how both are shown. A missed target is shown like a met one."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


#: From here on, digits behind the point say nothing.
TEN, WHOLE = 10, 1000


class Target(Protocol):
    def met(self, value: float) -> bool: ...


class AtMost(NamedTuple):
    limit: float

    def met(self, value: float) -> bool:
        return value <= self.limit

    def __str__(self) -> str:
        return f"<= {self.limit:g}"


class Below(NamedTuple):
    limit: float

    def met(self, value: float) -> bool:
        return value < self.limit

    def __str__(self) -> str:
        return f"< {self.limit:g}"


class AtLeast(NamedTuple):
    limit: float

    def met(self, value: float) -> bool:
        return value >= self.limit

    def __str__(self) -> str:
        return f">= {self.limit:g}"


class Measured(NamedTuple):
    """The median of many rounds, and the quarter and three-quarter points around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Measured:
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


class Figure(NamedTuple):
    """One number: a ratio or a measure, what it is of, and perhaps what it should be."""

    what: str
    value: float
    unit: str
    middle_half: tuple[float, float] | None = None
    target: Target | None = None

    @classmethod
    def of(cls, what: str, measured: Measured, unit: str = "x", target: Target | None = None) -> Figure:
        return cls(what, measured.median, unit, (measured.low, measured.high), target)

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return "met" if self.target.met(self.value) else "MISSED"

    def row(self) -> list[str]:
        around = f"{_number(self.middle_half[0])} to {_number(self.middle_half[1])}" if self.middle_half else ""
        target = "" if self.target is None else str(self.target)
        return [self.what, f"{_number(self.value)} {self.unit}", around, target, self.verdict]

    def plain(self) -> dict[str, Any]:
        target = None if self.target is None else str(self.target)
        return {**self._asdict(), "target": target, "met": self.target and self.target.met(self.value)}


class Part(NamedTuple):
    """What one benchmark found. Remarks say what a number cannot: a peer that was not there, how it was measured."""

    name: str
    title: str
    figures: list[Figure]
    remarks: Sequence[str] = ()

    def text(self) -> str:
        head = [self.title, "median", "middle half", "target", ""]
        lines = _aligned([head, *(figure.row() for figure in self.figures)])
        return "\n".join([f"{self.name}: {lines[0]}", *(f"  {line}" for line in lines[1:]), *_indented(self.remarks)])

    def plain(self) -> dict[str, Any]:
        return {"name": self.name, "figures": [figure.plain() for figure in self.figures], "remarks": [*self.remarks]}


def summary(parts: Iterable[Part]) -> str:
    """The closing line: how many targets were met, and which were not."""
    held = [(part, figure) for part in parts for figure in part.figures if figure.target]
    missed = [f"\n  {part.name}: {_missed(figure)}" for part, figure in held if figure.verdict != "met"]
    return f"{len(held) - len(missed)} of {len(held)} targets met" + (f"; missed:{''.join(missed)}" if missed else "")


def _missed(figure: Figure) -> str:
    return f"{figure.what}: {f'{_number(figure.value)} {figure.unit}'.rstrip()}, target {figure.target}"


def _aligned(rows: list[list[str]]) -> list[str]:
    # The name comes first on the title's line and the rows are indented: the widths differ by nothing that matters.
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(_cell(text, widths, column) for column, text in enumerate(row)).rstrip() for row in rows]


def _cell(text: str, widths: list[int], column: int) -> str:
    return text.ljust(widths[column]) if column in (0, 3) else text.rjust(widths[column])


def _indented(remarks: Sequence[str]) -> list[str]:
    return [f"  {remark}" for remark in remarks]


def _number(value: float) -> str:
    """Three digits behind the point are more than the rounds agree on; a whole number is shown as one."""
    if value == int(value) or abs(value) >= WHOLE:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < TEN else f"{value:.1f}"
