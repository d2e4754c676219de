"""A lock is given back, and its owner marked as done with it; or it is given on to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.stores.etcd import messages
from celery_locks.stores.etcd.forcing import look
from celery_locks.stores.etcd.leases import end, revoke
from celery_locks.stores.etcd.mending import Full, LeaseUnknown
from celery_locks.stores.etcd.naming import whole_seconds
from celery_locks.stores.etcd.renewal import Renewal

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Claim
    from celery_locks.stores.etcd.leases import Leases
    from celery_locks.stores.etcd.marks import Marks
    from celery_locks.stores.etcd.messages import Body
    from celery_locks.stores.etcd.naming import Names
    from celery_locks.stores.etcd.wire import Talk


class Giving:
    """Gives back, for one verb."""

    def __init__(self, talk: Talk, leases: Leases, marks: Marks) -> None:
        self._talk = talk
        self._leases = leases
        self._marks = marks

    def freed(self, names: Names) -> bool:
        """Whether it was ours, now or when it was given back before."""
        try:
            return self._freed(names)
        except Full:
            return self._freed_unmarked(names)

    def given_up(self, names: Names) -> None:
        """Undo what was asked for and not heard of: without its lease it comes to nothing, and its owner is done."""
        end(self._talk, self._leases.forget(names))
        # One of the members may be late with the grant as well as with what was to be done under it.
        self._marked(lambda marks: messages.note(names.mark, marks))

    def _freed(self, names: Names) -> bool:
        granted = self._leases.of(names)
        answer = self._given_back(names)
        was = next(iter(messages.found(answer)), None)
        ours = bool(answer.get("succeeded"))
        # When it was not ours, a request of ours may still be on its way: without its lease it comes to nothing.
        end(self._talk, was.lease if was and ours else granted and granted.number)
        return ours or was is not None

    def _freed_unmarked(self, names: Names) -> bool:
        """Free a key by ending its lease, which etcd does also when it has no room for a mark."""
        taken = look(self._talk, names.lock)
        if taken and taken.owner == names.owner:
            revoke(self._talk, taken.lease)
            return True
        return look(self._talk, names.mark) is not None

    def _given_back(self, names: Names) -> Body:
        return self._marked(lambda marks: messages.give_back(names, marks))

    def _marked(self, request: Callable[[int], Body]) -> Body:
        try:
            return self._talk.ask(messages.TXN, request(self._marks.lease(self._talk)))
        except LeaseUnknown:
            # That of the marks is gone: the cluster was set up anew, or this process slept.
            self._marks.forget()
            return self._talk.ask(messages.TXN, request(self._marks.lease(self._talk)))


def taken_over(talk: Talk, leases: Leases, claim: Claim, names: Names, before: Names) -> int | None:
    """The fence of a lock that is handed over; None when it is not there to be, and the key is to be asked for."""
    taken = look(talk, names.base)
    if taken is None or taken.owner != before.owner:
        return None
    lease = leases.grant(talk, names, whole_seconds(claim.ttl))
    if not Renewal(talk, leases).move(names, lease, taken):
        leases.forget(names)
        return None
    leases.forget(before)
    return taken.fence
