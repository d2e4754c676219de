"""What the answers of many nodes to one acquire come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_locks.stores.redlock.node import Node


class Votes:
    """Who was given how many nodes. A node that has just been started may have forgotten a lease: it grants in vain."""

    __slots__ = ("done", "fences", "holders", "young")

    def __init__(self, answers: Mapping[Node, Any], now: float) -> None:
        self.fences: list[int] = []
        self.holders: dict[bytes, list[int]] = {}
        self.done = self.young = 0
        for node, answer in answers.items():
            if isinstance(answer, int):
                self.fences.append(answer)
                self.young += not node.counts(now)
            elif answer:
                self.holders.setdefault(answer[0], []).append(answer[1])
            else:
                self.done += 1

    @property
    def granted(self) -> int:
        """How many nodes count as ours."""
        return len(self.fences) - self.young

    @property
    def leader(self) -> tuple[bytes, list[int]] | None:
        """The other owner with the most nodes, and how many milliseconds it has left on each."""
        return max(self.holders.items(), key=lambda each: len(each[1]), default=None)

    def are_enough(self, majority: int, nodes: int) -> bool:
        """Whether no further answer can change what they come to."""
        if self.granted >= majority or self.done > nodes - majority:
            return True
        return any(len(left) >= majority for left in self.holders.values())
