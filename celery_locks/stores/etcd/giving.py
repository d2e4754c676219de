"""A lock is given back, and its owner marked as done with it; or it is given on to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.stores.etcd import joint, messages
from celery_locks.stores.etcd.forcing import look, put_out
from celery_locks.stores.etcd.leases import end, keys_under, revoke, whole
from celery_locks.stores.etcd.mending import Full, LeaseUnknown
from celery_locks.stores.etcd.naming import whole_seconds
from celery_locks.stores.etcd.renewal import Renewal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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

    def all_freed(self, names: Sequence[Names]) -> list[bool]:
        """The same of each of several locks of an owner, in one transaction."""
        # Where a request of ours may still be on its way, it comes to nothing without its lease.
        known = whole(granted and granted.number for granted in map(self._leases.of, names))
        try:
            answer = self._marked(lambda marks: joint.give_back(names, marks), len(names))
        except Full:
            return self._all_freed_unmarked(names)
        parts = joint.each_answer(answer)
        were = [next(iter(messages.found(part)), None) for part in parts]
        ours = [bool(part.get("succeeded")) for part in parts]
        emptied = whole(was.lease for was, mine in zip(were, ours, strict=True) if was and mine)
        for number in known | emptied:
            end(self._talk, *[number] * keys_under(number))
        return [mine or was is not None for was, mine in zip(were, ours, strict=True)]

    def given_up(self, *names: Names) -> None:
        """Undo what was asked for and not heard of: without its lease it comes to nothing, and its owner is done."""
        numbers = [self._leases.forget(each) for each in names]
        end(self._talk, *numbers)
        # What lies under a lease with other keys does not end with it.
        ended = whole(numbers) | {None}
        held = [each for each, number in zip(names, numbers, strict=True) if number not in ended]
        # One of the members may be late with the grant as well as with what was to be done under it.
        self._marked(lambda marks: joint.give_up(names, held, marks), len(names))

    def undone(self, names: Names) -> None:
        """With its lease a key is gone, and no mark stays."""
        granted = self._leases.forget(names)
        if granted and keys_under(granted) == 1:
            revoke(self._talk, granted)
        elif granted and (taken := look(self._talk, names.lock)) and taken.owner == names.owner:
            put_out(self._talk, taken)

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
            put_out(self._talk, taken)
            return True
        return look(self._talk, names.mark) is not None

    def _all_freed_unmarked(self, names: Sequence[Names]) -> list[bool]:
        looks = [look(self._talk, each.lock) for each in names]
        mine = [taken for taken, each in zip(looks, names, strict=True) if taken and taken.owner == each.owner]
        emptied = whole(taken.lease for taken in mine)
        for number in emptied:
            revoke(self._talk, number)
        for taken in mine:
            if taken.lease not in emptied:
                put_out(self._talk, taken)
        return [
            taken in mine or look(self._talk, each.mark) is not None for taken, each in zip(looks, names, strict=True)
        ]

    def _given_back(self, names: Names) -> Body:
        return self._marked(lambda marks: messages.give_back(names, marks))

    def _marked(self, request: Callable[[int], Body], count: int = 1) -> Body:
        try:
            return self._talk.ask(messages.TXN, request(self._marks.lease(self._talk, count)))
        except LeaseUnknown:
            # That of the marks is gone: the cluster was set up anew, or this process slept.
            self._marks.forget()
            return self._talk.ask(messages.TXN, request(self._marks.lease(self._talk, count)))


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
