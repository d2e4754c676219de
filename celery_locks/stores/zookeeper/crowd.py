"""Keys that several hold: the node of the key is a folder then, and each who holds it has an ephemeral node in it.

Who wants the key alone makes that node for itself, and cannot while it is there. Who joins others has looked who they
are, and its transaction says at which count of those that ever joined: it fails if anybody has since.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from kazoo.exceptions import BadVersionError, NoChildrenForEphemeralsError, NodeExistsError, NoNodeError

from celery_locks.errors import StoreUnavailable
from celery_locks.stores.zookeeper.asking import refusal
from celery_locks.stores.zookeeper.names import Crowded, crowded
from celery_locks.stores.zookeeper.numbers import number
from celery_locks.stores.zookeeper.onlooker import Seen, owner
from celery_locks.stores.zookeeper.steps import made, removal, sweep, written
from celery_locks.ticket import Stance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_locks.lease import Claim
    from celery_locks.stores.zookeeper.answer import Answer
    from celery_locks.stores.zookeeper.asking import Asking
    from celery_locks.stores.zookeeper.client import Client
    from celery_locks.stores.zookeeper.names import Folders, Name
    from celery_locks.stores.zookeeper.onlooker import Onlooker
    from celery_locks.stores.zookeeper.session import Session

#: One that waits for a key alone says so for so many seconds, and says it again after this.
AWAITED_FOR, SAID_AGAIN = 3, 1.0
#: Of those who join at one moment one succeeds each time.
TRIES = 100
_REMEMBERED = 1000
#: Somebody else has come or left since it was looked at.
_CHANGED = (BadVersionError, NodeExistsError, NoChildrenForEphemeralsError)


class Around(NamedTuple):
    """What one sees who is about to join. The count is read first: whoever has joined since is in what follows."""

    count: Any
    lock: Any
    members: Sequence[str] | None
    mine: Any
    awaited: Any
    slots: Any

    def has_room(self, claim: Claim) -> bool:
        """Whether those who have the key leave room for one more."""
        if self.mine:
            # Somebody else has it in this name.
            return False
        if not self.lock or not self.members:
            return not self.lock or crowded(self.lock[0]) is not None
        crowd = crowded(self.lock[0])
        if not crowd or crowd.readers != claim.shared:
            return False
        return claim.shared or len(self.members) < (number(self.slots) or claim.slots)


class Crowding:
    """How the owners of one process come to hold a key with others, or come to hold it alone among them."""

    def __init__(self, session: Session, asking: Asking, folders: Folders, onlooker: Onlooker) -> None:
        self._session = session
        self._asking = asking
        self._folders = folders
        self._onlooker = onlooker
        #: What the one who asks in this thread has to watch, and the keys that somebody here waits for alone.
        self._watched = threading.local()
        self._waits: dict[tuple[str, str], None] = {}

    def joined(self, claim: Claim, name: Name) -> Any:
        """The stat of its node, once it holds the key with others; or who is in its way."""
        for _ in range(TRIES):
            around = self._look(claim, name)
            if mine := self._own(around, name):
                return mine
            if not around.has_room(claim) or self._is_awaited(claim.key, around.awaited):
                return self._in_the_way(claim, name, around)
            refused = refusal(results := self._asking.do(lambda client: self._joining(client, claim, name, around)))  # noqa: B023 - called at once
            if refused is None:
                return results[-1]
            if isinstance(refused, NoNodeError):
                self._prepare(claim.key)
            elif not isinstance(refused, _CHANGED):
                raise self._asking.outage(refused)
        return None

    def standing(self, name: Name, found: Any) -> Any:
        """Who of several has a key, or the stat of our own node; None when they have gone."""
        (members, mine) = self._asking.ask(
            lambda client: [client.get_children_async(name.lock), client.get_async(self._folders.member(name).lock)]
        )
        if mine and mine[1].ephemeralOwner == self._session.number:
            return mine[1]
        if not members:
            self._asking.do(lambda client: sweep(client, name.lock))
            return None
        return self._onlooker.among(name.lock, found[1].cversion, members)

    def turned_away(self, claim: Claim, seen: Seen | None) -> None:
        """Note what is in the way of one that wants the key alone, and say that it waits, if it does."""
        is_crowd = seen is not None and seen.version is not None
        self._note(claim.key, seen, soon=is_crowd)
        if is_crowd and claim.ticket and claim.ticket.stance is not Stance.GOES:
            if len(self._waits) >= _REMEMBERED:
                self._waits.clear()
            self._waits[claim.key, claim.owner] = None
            self._say(claim)

    def waits_no_more(self, claim: Claim) -> None:
        """It has the key, or gives up."""
        if self._waits and (claim.key, claim.owner) in self._waits:
            self._waits.pop((claim.key, claim.owner), None)
            # It is forgotten in any case: what it has taken counts.
            with contextlib.suppress(StoreUnavailable):
                self._asking.do(lambda client: removal(client, self._folders.awaited(claim.key), -1))

    def to_watch(self, key: str, seconds: float) -> tuple[str, float, int | None]:
        """What the one who asked in this thread watches, and for how long."""
        known, seen, soon = getattr(self._watched, "last", ("", None, False))
        if known != key or seen is None:
            return self._folders.lock(key), seconds, None
        return seen.node, min(seconds, SAID_AGAIN) if soon else seconds, seen.version

    def _note(self, key: str, seen: Seen | None, *, soon: bool) -> None:
        self._watched.last = key, seen, soon

    def _look(self, claim: Claim, name: Name) -> Around:
        folders, key = self._folders, claim.key
        return Around(
            *self._asking.look(
                lambda client: [
                    client.exists_async(folders.joins(key)),
                    client.get_async(name.crowd),
                    client.get_children_async(name.crowd),
                    client.get_async(name.lock),
                    client.get_async(folders.awaited(key)),
                    client.get_async(folders.slots(key)),
                ]
            )
        )

    def _own(self, around: Around, name: Name) -> Any:
        """What this owner has already, with others or alone: an answer was lost."""
        alone = around.lock if around.lock and around.lock[0] == name.data else None
        mine = around.mine or alone
        return mine[1] if mine and mine[1].ephemeralOwner == self._session.number else None

    def _joining(self, client: Client, claim: Claim, name: Name, around: Around) -> Answer:
        self._session.known.wants(name)
        all_, data = client.transaction(), Crowded(claim.key, claim.shared).to_data()
        # Nobody has ever joined: there is nothing to count with, and the answer says so.
        all_.set_data(self._folders.joins(claim.key), b"", around.count.version if around.count else 0)
        if not around.lock:
            all_.create(name.crowd, data)
        elif around.lock[0] != data:
            all_.set_data(name.crowd, data)
        all_.create(name.lock, ephemeral=True)
        all_.create(name.mark, ephemeral=True)
        all_.set_data(name.lock, name.data)
        answer: Answer = all_.commit_async()
        return answer

    def _in_the_way(self, claim: Claim, name: Name, around: Around) -> Seen:
        """Who is, and what changes when nobody is any more."""
        if around.lock and not crowded(around.lock[0]):
            seen: Seen | None = Seen(owner(around.lock[0]), name.crowd)
        else:
            members = list(around.members or ())
            version = around.lock[1].cversion if around.lock else 0
            seen = self._onlooker.among(name.crowd, version, members)
        # One that waits for a key that nobody has goes first.
        seen = seen or Seen(None, self._folders.awaited(claim.key))
        self._note(claim.key, seen, soon=around.awaited is not None)
        return seen

    def _is_awaited(self, key: str, awaited: Any) -> bool:
        """Whether somebody waits for it alone, and has said so lately, by the leader's clock."""
        if not awaited:
            return False
        node = self._folders.awaited(key)
        (now,) = self._asking.ask(lambda client: [client.set_async(node.rpartition("/")[0], b"")])
        # A leader that is new may have a clock that is behind: then, too, whoever waits says so again.
        if now is None or 0 <= now.mtime - awaited[1].mtime < AWAITED_FOR * 1000:
            return True
        self._asking.do(lambda client: removal(client, node, awaited[1].version))
        return False

    def _say(self, claim: Claim) -> None:
        node, data = self._folders.awaited(claim.key), claim.owner.encode("utf-8", "surrogatepass")
        for say in (written, made):
            refused = refusal(self._asking.do(lambda client: say(client, node, data)))  # noqa: B023 - called at once
            if not isinstance(refused, NoNodeError):
                return
        self._asking.ask(lambda client: [client.ensure_path_async(node.rpartition("/")[0])])
        self._asking.do(lambda client: made(client, node, data))

    def _prepare(self, key: str) -> None:
        paths = *self._folders, self._folders.joins(key)
        self._asking.ask(lambda client: [client.ensure_path_async(path) for path in paths])
