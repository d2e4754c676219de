"""Waits for a taken key in the place where it was asked for."""

from __future__ import annotations

import logging
import math
import os
import threading
from typing import TYPE_CHECKING

from celery_locks import closing
from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Lease
from celery_locks.stores.base import Crowds, Lines, Waiting, Watches
from celery_locks.stores.several import Several
from celery_locks.ticket import Stance, Ticket, numbered, ticket_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.lease import Claim
    from celery_locks.stores import Store
    from celery_locks.stores.base import Wake
    from celery_locks.waker import Waker

logger = logging.getLogger("celery_locks.patience")

#: Whoever waits for a wake looks himself this often, should all wakes be lost.
NAP = 5.0
#: One to whom the key may be handed over does so this often: was the word of that lost, the key is idle until then, for
#: as long as a claim window. The store hands nothing over to one that does not.
AFRESH = 2.0
#: One that its worker may call back does not watch its key for longer at once than this.
CALLED = 1.0
#: Of what was handed over, this part of its ttl must be left: its first beat is not due before that.
FRESH = 2 / 3
#: The answer to an owner that is done with its key. No word of a free key comes for it.
REFUSED = Busy()


class Patience:
    """Waits in line where the store keeps one, for a word of the store where it gives one, and else looks again."""

    def __init__(
        self, store: Store, waker: Waker | None, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._store = store
        self._several = Several(store)
        # A store without lines learns by them who waits: those who share a key are not to shut one out for ever.
        self._gives_tickets = isinstance(store, (Lines, Crowds))
        self._waker = waker
        self._clock = clock
        self._sleep = sleep

    def with_ticket(self, claim: Claim) -> Claim:
        """The claim of one that waits where it asks: with a ticket, where that is of use."""
        if not self._gives_tickets:
            return claim
        name = ticket_of(claim.owner, claim.slots, shared=claim.shared)
        return claim._replace(ticket=Ticket(name, home=self._waker.home() if self._waker else ""))

    def wait(self, claim: Claim, outcome: Busy, started: float, longest: float | None) -> Lease | Busy:
        """What comes of a claim whose key was taken when it was first asked for, after so long at the latest."""
        deadline = None if longest is None else started + longest
        if self._waker and claim.ticket and outcome.ticket:
            return self._in_line(self._waker, claim, outcome, started, deadline)
        return self._look_again(claim, outcome, deadline)

    def _in_line(
        self, waker: Waker, claim: Claim, outcome: Lease | Busy, asked: float, deadline: float | None
    ) -> Lease | Busy:
        """Wait for our turn; one that waited in vain stays in line only if it goes back to a queue."""
        ticket = claim.ticket or Ticket("")
        while isinstance(outcome, Busy) and outcome.ticket and outcome.present:
            ticket = ticket._replace(name=outcome.ticket)
            left = AFRESH if ticket.echo else NAP
            left = left if deadline is None else min(left, deadline - self._clock())
            if left <= 0 or closing.calls(claim.owner):
                if ticket.stance is Stance.WAITS:
                    self.leave([Waiting(outcome.key or claim.key, ticket.name)])
                    break
                ticket = ticket._replace(stance=Stance.GOES)
            else:
                longest = left if outcome.remaining is None else outcome.remaining
                waiting = Waiting(outcome.key or claim.key, ticket.name)
                wake = self._nap(waker, waiting, left, (longest, asked), claim.owner)
                if wake and wake.fence and (lease := self._handed(claim._replace(ticket=ticket), wake, asked)):
                    return lease
            asked, ticket = self._clock(), ticket._replace(home=waker.home())
            ticket = numbered(ticket) if ticket.echo else ticket
            outcome = self._ask(claim._replace(ticket=ticket))
        if isinstance(outcome, Busy) and not outcome.ticket and outcome != REFUSED:
            # There is no line any more, as on a server that is full: that is no reason to give up.
            return self._look_again(claim, outcome, deadline)
        return outcome

    def _nap(
        self, waker: Waker, waiting: Waiting, longest: float, known: tuple[float, float], owner: str
    ) -> Wake | None:
        woken = threading.Event()
        try:
            waiter = waker.stay(waiting, lambda _: woken.set(), *known)
            closing.nap(woken, longest, owner)
        except BaseException:
            self.leave([waiting])
            raise
        finally:
            waker.forget(waiting.ticket)
        return waiter.wake

    def _handed(self, claim: Claim, wake: Wake, asked: float) -> Lease | None:
        """The lease that came with a wake; None if that is of another try, or was long in coming: asking gets it.

        It cannot have been given before its claim was made, and its time is counted from then.
        """
        deadline = asked + claim.ttl
        is_ours = claim.ticket is not None and wake.echo == claim.ticket.echo
        if not is_ours or deadline - self._clock() < FRESH * claim.ttl:
            return None
        return Lease(claim, wake.fence, deadline, self._clock)

    def _look_again(self, claim: Claim, outcome: Lease | Busy, deadline: float | None) -> Lease | Busy:
        if claim.ticket:
            # It stops looking without a word: what is handed over to it then would be nobody's.
            claim = claim._replace(ticket=claim.ticket._replace(echo=0))
        for pause in pauses():
            left = math.inf if deadline is None else deadline - self._clock()
            if isinstance(outcome, Lease) or left <= 0 or closing.calls(claim.owner):
                break
            self._rest(claim, outcome, pause, left)
            outcome = self._ask(claim)
        return outcome

    def _ask(self, claim: Claim) -> Lease | Busy:
        return (self._several if claim.others else self._store).acquire(claim)

    def _rest(self, claim: Claim, busy: Busy, pause: float, left: float) -> None:
        """Until it is worth asking again: when the store says so, else for a while, and not past the lease's end."""
        ends = math.inf if busy.remaining is None else max(busy.remaining, 0.001)
        if isinstance(self._store, Watches) and busy != REFUSED:
            self._store.watch(busy.key or claim.key, min(CALLED if closing.may_call(claim.owner) else NAP, left, ends))
        else:
            self._sleep(min(pause, left, ends))

    def leave(self, waiting: Sequence[Waiting]) -> None:
        """Take these out of line, as far as the store can be reached."""
        if self._waker:
            for each in waiting:
                self._waker.forget(each.ticket)
            # Told of one after it has left, the store would put it in line again.
            self._waker.await_told()
        try:
            if waiting and isinstance(self._store, Lines):
                self._store.leave(waiting)
        except StoreUnavailable as error:
            logger.warning("%d who waited may still be called: %s", len(waiting), error)


def pauses(first: float = 0.005, longest: float = 0.25, growth: float = 1.6) -> Iterator[float]:
    """Ever longer pauses between looks at a taken key, each shortened at random so that waiters spread out."""
    pause = first
    while True:
        yield pause * (0.5 + os.urandom(1)[0] / 510)
        pause = min(longest, pause * growth)
