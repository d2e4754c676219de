"""One send of a job that is to be in its queue only once."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from celery.utils import uuid

from celery_locks import events, signals
from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Claim, Lease, Verdict
from celery_locks.surely import surely
from celery_locks.unique import ended, place, places
from celery_locks.unique.places import Stand
from celery_locks.unique.stay import stay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery_locks.plan import Plan

logger = logging.getLogger("celery_locks.unique")

#: A sender that dies between taking the place and publishing leaves it taken for so long, in seconds.
SENDING = 30.0
#: A store of several nodes may not know who has a key at once. Seconds between looks.
PAUSES = (0.05, 0.1, 0.2)


class Sending:
    """Sends it, or gives the result of the job that has the place. What must not be dropped is sent in any case."""

    def __init__(self, task: Any, plan: Plan, task_id: str | None, options: Mapping[str, Any]) -> None:
        self._task, self._plan, self._options = task, plan, options
        self._store = plan.guard.store
        self._id = task_id or str(uuid())
        #: Its id was given out before: a member of a group, chord or chain, whose end somebody waits for. Celery sends
        #: such with where the answer goes.
        self._is_awaited = task_id is not None and "reply_to" in options
        self._stay = stay(task, plan.options.unique_ttl, options)
        self._called: tuple[Any, Any] = (), {}
        self._running = place.current(task.name, self._id)
        #: What the job's message said before, if this is not the first.
        self._before = places.found(options.get("headers"), task.name, self._id, self._stay)

    def send(self, args: Any, kwargs: Any, publish: Callable[..., Any]) -> Any:
        """Publish it and give its result; or the first one's."""
        running, before = self._running, self._before
        if before and before.claim.key and not running:
            return self._published(places.kept(self._plan, before), publish)
        if before and before.claim.key and running:
            return self._published(running.goes_on(self._stay), publish)
        self._called = self._dumped(args or (), kwargs or {})
        key = places.place_key(self._task.name, self._plan.keys(*self._called))
        if running and running.claim.key == key:
            return self._published(running.goes_on(self._stay), publish)
        return self._claim(places.claimed(self._task.name, self._id, key, min(SENDING, self._stay)), publish)

    def _dumped(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        # The worker is not given a model but what Celery dumps it to.
        dump = getattr(self._task, "_dump_pydantic_arguments", None)
        if dump and self._options.get("serializer") != "pickle":
            args, kwargs = dump(args, kwargs)
        return args, kwargs

    def _claim(self, claim: Claim, publish: Callable[..., Any]) -> Any:
        try:
            outcome = self._asked(claim)
        except StoreUnavailable as outage:
            return self._without_store(claim, outage, publish)
        except BaseException:
            surely(places.give_back, self._store, claim)
            raise
        return self._first(outcome, publish) if isinstance(outcome, Lease) else self._second(claim, outcome, publish)

    def _asked(self, claim: Claim) -> Lease | Busy:
        for pause in PAUSES:
            outcome = self._store.acquire(claim)
            if isinstance(outcome, Lease) or outcome.holder:
                return outcome
            time.sleep(pause)
        return self._store.acquire(claim)

    def _first(self, lease: Lease, publish: Callable[..., Any]) -> Any:
        stand = self._stand(lease)
        try:
            result = self._published(stand, publish)
        except BaseException:
            surely(places.give_back, self._store, lease.claim)
            raise
        is_late, lease.ttl = not lease.held(), self._stay
        try:
            # Not asked for again if it was in time: it has run by now, and given its place back.
            if self._store.renew([lease]) == [Verdict.LOST] and is_late:
                self._take_again(stand._replace(claim=lease.claim._replace(ttl=self._stay)))
        except StoreUnavailable as error:
            logger.warning("%r may be free before its job runs: %s", lease.key, error)
        return result

    def _take_again(self, stand: Stand) -> None:
        """Publishing took longer than the place lasted. One that has begun by now would not give it back."""
        claim = stand.claim
        if ended.is_marked(self._store, stand.send) or places.is_running(self._plan, claim, *self._called):
            return
        outcome = self._store.acquire(claim)
        if isinstance(outcome, Busy):
            logger.warning("%s[%s] was long on its way: another job is queued as well", *claim[3:5])

    def _second(self, claim: Claim, busy: Busy, publish: Callable[..., Any]) -> Any:
        first = places.job_of(busy.holder, self._task.name)
        if self._is_awaited:
            return self._published(self._stand(), publish)
        if first is None:
            logger.warning("%r is taken by no job (%s): %s is sent all the same", claim.key, busy.holder, self._id)
            return self._published(self._stand(), publish)
        signals.duplicate.send(events.Duplicate(claim.key, busy.holder or "", task=claim.task, task_id=first))
        result = self._task.AsyncResult(first)
        result.ignored = self._options.get("ignore_result", self._task.ignore_result)
        decide = getattr(self._task, "on_duplicate", None)
        return decide(result) if decide else result

    def _without_store(self, claim: Claim, outage: StoreUnavailable, publish: Callable[..., Any]) -> Any:
        if self._plan.options.on_outage == "fail" and not self._is_awaited:
            raise StoreUnavailable(f"{claim.task} is not sent: {claim.key!r} could not be locked: {outage}", claim.key)
        logger.warning("%s[%s] is sent without its place %r: %s", claim.task, claim.task_id, claim.key, outage)
        return self._published(self._stand(), publish)

    def _stand(self, lease: Lease | None = None) -> Stand:
        """What its message says of this place, or of none."""
        name = lease.owner if lease else places.named(self._task.name, self._id)
        claim = lease.claim if lease else Claim("", name, self._stay, self._task.name, self._id)
        return Stand(claim, lease.fence if lease else None, self._before.send if self._before else name)

    def _published(self, stand: Stand, publish: Callable[..., Any]) -> Any:
        running = self._running if self._running and self._running.send == stand.send else None
        if running:
            # A retry, a re-queue, or another that replaces it: the running job sends itself again.
            running.is_sent_again()
        try:
            return publish(task_id=self._id, headers=places.headers_of(stand, self._options.get("headers")))
        except BaseException:
            if running:
                running.stays()
            raise
