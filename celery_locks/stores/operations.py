"""What a store may be able to do for whoever operates it: a capability each, as those in `base`."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Waiter(NamedTuple):
    """One in the line of a key.

    `stands`: "called", the key is kept for it now; "slot", it waits in a worker's slot or in plain code; "queue", its
    message waits at a worker; "away", its message is on its way through the queue.
    """

    ticket: str
    stands: str
    #: When it joined, in seconds since 1970 by the store's clock; of one that is away, when it left.
    since: float | None


class Queues(abc.ABC):
    """A store that can show the lines it keeps."""

    @abc.abstractmethod
    def line(self, key: str, most: int = 100) -> list[Waiter]:
        """Those who wait for the key, the first first, no more than `most`."""

    @abc.abstractmethod
    def waiting(self, keys: Sequence[str]) -> list[int]:
        """How many wait for each key, in one round trip."""


class Conflict(NamedTuple):
    """Somebody found a key taken, for the first time. `asker`: its owner's name, or the ticket of a job that waits.

    `when`: in seconds since 1970 by the store's clock. `age`: for how many seconds the holder had had it.
    """

    when: float
    asker: str
    holder: str | None
    age: float | None


class Tally(NamedTuple):
    """How often a key was found taken, for how many seconds it was waited for, for how long it was seen held at most.

    The number may be too high by what another key had that made room for this one, and never is too low.
    """

    key: str
    conflicts: int
    waited: float
    held: float


class Remembers(abc.ABC):
    """A store that remembers conflicts, of those keys that have the most."""

    @property
    def unseen(self) -> str:
        """What is not among them, where that is to be told."""
        return ""

    @abc.abstractmethod
    def most_contended(self, most: int = 20) -> list[Tally]:
        """The keys with the most conflicts, the most first."""

    @abc.abstractmethod
    def conflicts(self, key: str) -> list[Conflict]:
        """The latest conflicts of a key, the latest first."""


class Evicts(abc.ABC):
    """A store that can free a key from one holder, and from nobody who came after."""

    @abc.abstractmethod
    def evict(self, key: str, fence: int) -> bool:
        """Free the key if the holder with this fence has it, as `force_release` does. False when that holder has not.

        It is compared where the key is freed, in one step.
        """


class Tables(abc.ABC):
    """A store that needs a table, and whose rows stay for a while after their locks."""

    @abc.abstractmethod
    def create_table(self) -> None:
        """Make the table where it is missing."""

    @abc.abstractmethod
    def ddl(self) -> str:
        """The statements that make it, for whoever makes it by hand."""

    @abc.abstractmethod
    def purge(self) -> int:
        """Remove all rows that nobody used for as long as the store keeps them, and say how many."""


class Clocked(abc.ABC):
    """A store whose leases end by a clock of its own that can be read."""

    @abc.abstractmethod
    def time(self) -> float:
        """What time it is there, in seconds since 1970."""


class Server(NamedTuple):
    """A Redis server in its own words: the fields of INFO, and what CONFIG says; None where nobody is told that.

    `trouble`: why one of several said nothing.
    """

    name: str
    info: Mapping[str, str]
    config: Mapping[str, str] | None = None
    trouble: str = ""


class Served(abc.ABC):
    """A store in Redis servers that can be asked how they are set up."""

    @abc.abstractmethod
    def servers(self) -> list[Server]:
        """Those that hold locks. Raises `StoreUnavailable` when one does not answer that locks cannot do without."""

    @abc.abstractmethod
    def strangers(self, most: int) -> list[str]:
        """Names beside the locks in the same database, of so many that are looked at."""
