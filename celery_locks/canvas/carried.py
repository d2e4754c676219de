"""What the message of a member says of the baton: its keys, who has them on the way here, and to whom it goes next."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The header of a message that says it.
HEADER = "lock_baton"
#: The step of what is called when a member fails.
ERROR = "error"


class Carried(NamedTuple):
    """A member's part in a workflow that holds one key."""

    key: str
    #: The workflow, of which each step has a name of its own.
    owner: str
    step: str
    #: The step that comes after it; None: it is the last.
    next: str | None
    #: Others run beside it, under the same lease.
    together: bool
    #: How long the lease lasts that a member does not renew, and one of which the message is still on its way.
    ttl: float
    travel: float
    #: How its members wait for the key, as far as that is not as it always is.
    options: dict[str, Any]
    #: Keys that it holds together with the first.
    others: tuple[str, ...] = ()
    #: Of an errback, the steps of groups for whose failure it is called: it takes over from them.
    groups: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys of the workflow, in the order in which everybody takes them."""
        return (self.key, *self.others)

    @property
    def shown(self) -> str:
        """The workflow, as a message names it."""
        return f"baton on {[*self.keys]!r}" if self.others else f"baton on {self.key!r}"

    def named(self, step: str) -> str:
        """Who has the key while the message of this step is on its way."""
        # As an owner's name is read: what it is for, and where it was made.
        return self.owner.replace("baton@", f"baton[{step}]@", 1)

    @property
    def mine(self) -> str:
        """Who has the key while this member's message is on its way."""
        return self.named(self.step)

    def written(self) -> str:
        """As it goes into a header: every broker carries a text."""
        # A worker that knows of one key alone still reads what has one.
        said = {name: each for name, each in self._asdict().items() if name not in ("others", "groups") or each}
        return json.dumps(said, separators=(",", ":"))


def found(headers: Mapping[str, Any]) -> Carried | None:
    """What a message says, if it is that of a member."""
    text = headers.get(HEADER)
    if not isinstance(text, str):
        return None
    carried = Carried(**json.loads(text))
    return carried._replace(others=tuple(carried.others), groups=tuple(carried.groups))
