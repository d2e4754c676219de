"""How far a schedule has come, kept under the fence of whoever leads: a capability, beside those in `base`."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Positions(abc.ABC):
    """A store that keeps texts by name, a schedule's, which only the last to take them up may write.

    A schedule is no key, and its texts are no locks: `list` does not show them. They are kept until they are removed.
    Both verbs may be repeated after an answer was lost, and do nothing when they arrive late: each write has a number
    under its fence, and none comes after one with a higher number.
    """

    @abc.abstractmethod
    def take_up(self, schedule: str, fence: int) -> dict[str, str] | None:
        """All texts of a schedule. From now on no lower fence writes them.

        None, and nothing changed, when a higher fence has taken them up.
        """

    @abc.abstractmethod
    def put(self, schedule: str, fence: int, number: int, texts: Mapping[str, str | None]) -> bool:
        """Write these texts, and remove those that are None.

        False, and nothing written, when a higher fence has taken them up, or when this one has written any of them
        with a higher number. The same number again is the same write.
        """
