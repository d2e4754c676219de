"""Notes that are kept for a while: a capability, beside those in `base`."""

from __future__ import annotations

import abc


class Notes(abc.ABC):
    """A store that keeps a note for less than a lock would cost: it has no holder, no fence, and no line.

    A note is no key: one of the same name is something else, and `list` does not show it.
    """

    @abc.abstractmethod
    def note(self, name: str, seconds: float) -> None:
        """Keep a note for so long from now. Noted again, it is kept for so long from then on."""

    @abc.abstractmethod
    def is_noted(self, name: str) -> bool:
        """Whether it was noted, and its time is not over."""
