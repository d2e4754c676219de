"""What one try of a job does about its lock, whichever queue it came from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from celery_locks import closing
from celery_locks.interrupt import Interruption, await_end, kill
from celery_locks.lease import Claim
from celery_locks.policies import Fail, Skip
from celery_locks.ticket import Stance, Ticket, marked, ticket_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.guard import Refusal
    from celery_locks.lease import Lease
    from celery_locks.plan import Plan


class Attempt(ABC):
    """One try, which claims its keys, may wait for them in its slot, and works under its lease or is refused."""

    _claim: Claim

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._options = plan.options
        self._interruption = Interruption()

    @abstractmethod
    def _work(self, lease: Lease, body: Callable[[], Any]) -> Any:
        """Do the work under its lease."""

    @abstractmethod
    def _refused(self, refusal: Refusal, body: Callable[[], Any]) -> Any:
        """What becomes of it without one."""

    @abstractmethod
    def _may_end(self) -> bool:
        """Whether its process can be ended for its lease, and nothing else with it."""

    def _claimed(
        self, name: str, job_id: str | None, keys: tuple[str, ...], owner: str, ticket: Ticket | None
    ) -> Claim:
        kind = (*self._plan.kind, keys[1:], self._options.at_least)
        return Claim(keys[0], owner, self._options.ttl, name, job_id, ticket, *kind)

    def _ticket(self, keys: tuple[str, ...], owner: str, known: tuple[str, str] | None) -> Ticket | None:
        """A job that can go back to its queue waits in its slot only when it is the next, and else away from here.

        `known`: the key and the ticket with which it has waited before.
        """
        options = self._options
        stance = Stance.WAITS_IF_NEXT if options.wait else Stance.GOES
        waker = self._plan.guard.waker
        home = waker.home() if waker and options.wait else ""
        if known and known[0] in keys:
            return Ticket(marked(known[1], options.slots, shared=options.shared), stance, home)
        if options.on_contention in ("skip", "fail") or isinstance(options.on_contention, (Skip, Fail)):
            return None
        return Ticket(ticket_of(owner, options.slots, shared=options.shared), stance, home)

    def _run_in_slot(self, place: int, body: Callable[[], Any]) -> Any:
        """Run where a worker that ends calls back who waits in its slots."""
        if not (self._options.wait and closing.mine):
            return self._run(body)
        closing.mine.enter(self._claim.owner, place)
        try:
            return self._run(body)
        finally:
            closing.mine.leave(self._claim.owner, place)

    def _run(self, body: Callable[[], Any]) -> Any:
        try:
            return self._plan.guard.run(
                self._claim,
                lambda lease: self._work(lease, body),
                lambda refusal: self._refused(refusal, body),
                wait=self._options.wait,
                beat=self._plan.beat,
                on_lost=self._on_lost(),
                strict=self._options.on_lost != "flag",
                in_line=self._options.fair,
            )
        finally:
            await_end()

    def _waits_no_more(self, place: int) -> None:
        """It has its lease: a worker that ends waits for it."""
        if self._options.wait and closing.mine:
            closing.mine.leave(self._claim.owner, place)

    def _on_lost(self) -> Callable[[Lease], None] | None:
        match self._options.on_lost:
            case "kill" if self._may_end():
                return kill
            case "flag":
                return None
        return self._interruption.fire
