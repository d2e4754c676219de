"""Sends a job that found its key taken back to its queue, with everything it was sent with."""

from __future__ import annotations

import logging
import re
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from celery._state import get_current_task
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.time import maybe_iso8601, maybe_make_aware
from kombu.exceptions import OperationalError
from kombu.serialization import registry  # type: ignore[attr-defined]  # its stubs lack it

from celery_locks import telling
from celery_locks.front import in_front

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_locks.errors import LockError
    from celery_locks.lease import Claim

logger = logging.getLogger("celery_locks.requeue")

#: Headers that count what has happened to a job since it first met its key taken.
REQUEUES, SINCE = "lock_requeues", "lock_since"
#: Headers of a job that is in line: the key it waits for, and its ticket.
KEY, TICKET = "lock_waits_for", "lock_ticket"
#: Header of one whose countdown may be lengthened by the worker that holds it.
PATIENT = "lock_patient"
#: Header of one that may be called when it is the next, to wait in a slot for its turn.
COMES = "lock_comes"
OURS = (REQUEUES, SINCE, KEY, TICKET, PATIENT, COMES)
#: Headers a broker writes when it moves a message from queue to queue, as delayed delivery does. RabbitMQ takes one
#: that comes back with them for a message that goes round in circles, and drops it.
_OF_THE_BROKER = re.compile("x-death|x-(first|last)-death-(exchange|queue|reason)", re.IGNORECASE)


def requeues(request: Any) -> int:
    """How often this job has gone back to its queue."""
    return int((request.headers or {}).get(REQUEUES, 0))


def waited(request: Any) -> float:
    """Seconds since this job first met its key taken, by the clocks of the workers it met."""
    since = (request.headers or {}).get(SINCE)
    return 0.0 if since is None else max(0.0, time.time() - float(since))


def past_of(claim: Claim) -> telling.Past:
    """What the job that runs here has met; nothing of another's claim, as in a keeper's thread."""
    task = get_current_task() if claim.task_id else None
    request = task.request if task else None
    if request is None or request.id != claim.task_id:
        return telling.Past()
    return telling.Past(requeues(request), waited(request) or None)


telling.past_of = past_of


def place(sent: Mapping[str, Any]) -> tuple[str, str] | None:
    """The key a job waits for and its ticket, from the headers it was sent with; None when it is in no line."""
    key, ticket = sent.get(KEY), sent.get(TICKET)
    return (key, ticket) if isinstance(key, str) and isinstance(ticket, str) else None


def is_patient(sent: Mapping[str, Any]) -> bool:
    """Whether the worker that holds a job may let it wait for longer than its countdown says."""
    return sent.get(PATIENT) is True


def comes(sent: Mapping[str, Any]) -> bool:
    """Whether a job may be called when it is the next, to wait in a slot for its turn."""
    return sent.get(COMES) is True


def ignores_result(task: Any, request: Any) -> bool:
    """Whether this job's result is not to be stored: as it was sent, else as its task says."""
    sent = vars(request).get("ignore_result")
    return bool(task.ignore_result if sent is None else sent)


class Place(NamedTuple):
    """Where a job waits: its ticket, whether it may be held beyond its countdown, whether it is called as the next."""

    ticket: str
    patient: bool
    comes: bool


class CopyWaits(Ignore):
    """Ends a try of a copy whose job runs: what is known of the job is left to that."""


def again(  # noqa: PLR0913 - a call that says how, by name
    task: Any, delay: float, reason: LockError, *, counted: bool, in_line: Place | None = None, is_copy: bool = False
) -> Retry | CopyWaits:
    """Publish the job once more, and give the exception that ends this try.

    It is published before the message at hand is acknowledged. If the broker refuses it, a job that acknowledges
    late is rejected back to its queue; one that was acknowledged already ends failed, with the reason.
    """
    request = task.request
    alone = _fanned_out(task.app, request)
    if alone is not None and not _only_to(task.app, alone):
        raise _would_multiply(reason)
    signature = task.signature_from_request(
        request,
        countdown=delay,
        retries=request.retries,
        headers=_headers(request, reason.key, in_line, counted=counted),
        **_kept(request),
    )
    if alone:
        signature.options.pop("queue", None)
        signature.options.update(exchange="", routing_key=alone[0].name)
    stored = not is_copy and _stored(task, request, reason)
    # Whoever publishes from inside a job becomes the parent of what it publishes: this is no child of itself.
    task.push_request(called_directly=True)
    try:
        with task.app.producer_or_acquire() as producer, in_front(producer.channel) if in_line else nullcontext():
            signature.apply_async(producer=producer, declare=_way(task.app, request))
    except Exception as error:
        raise _refused(task, reason, error) from error
    finally:
        task.pop_request()
    if is_copy:
        return CopyWaits(str(reason))
    # Celery would store the state now: too late, for the job may have ended since, at another worker.
    request.ignore_result = stored or request.ignore_result
    return Retry(exc=reason, when=delay)  # type: ignore[arg-type]  # a float is what it takes


def without_counters(headers: dict[str, Any] | None) -> dict[str, Any]:
    """The headers a job was sent with: what counts its waiting ends when it runs, and no retry takes it along."""
    return {name: value for name, value in (headers or {}).items() if name not in OURS}


def expired(task: Any) -> bool:
    """Whether the time is over until which a job was to be run."""
    expires = maybe_iso8601(task.request.expires)
    return expires is not None and maybe_make_aware(expires, task.app.timezone) <= task.app.now()


def _stored(task: Any, request: Any, reason: LockError) -> bool:
    """Show that the job waits before anybody can meet it again. Nothing is lost if that cannot be shown."""
    if ignores_result(task, request):
        return False
    show(task, request, reason)
    return True


def show(task: Any, request: Any, reason: LockError) -> None:
    """Store that a job waits, and for what."""
    try:
        task.backend.mark_as_retry(request.id, reason, request=request)
    except Exception as error:  # noqa: BLE001 - whatever a result backend raises, the job comes first
        logger.warning("%s[%s] waits, which could not be stored: %s", task.name, request.id, error)


def _way(app: Any, request: Any) -> list[Any] | None:
    """The queues behind the exchange a job came by: what goes to one that nobody has declared is gone."""
    exchange = (request.delivery_info or {}).get("exchange")
    # None, not an empty list, which would keep Celery from declaring a queue that is named.
    return [queue for queue in app.amqp.queues.values() if exchange and queue.exchange.name == exchange] or None


def _fanned_out(app: Any, request: Any) -> list[Any] | None:
    """For a job that came by a fanout exchange: the queues of this worker it may have come from. Else None."""
    came_by = request.delivery_info or {}
    exchange, direct = came_by.get("exchange"), came_by.get("routing_key")
    queues = [queue for queue in app.amqp.queues.values() if queue.exchange.type == "fanout"]
    if exchange:
        own = [queue for queue in app.amqp.queues.consume_from.values() if queue.exchange.name == exchange]
        return own if any(queue.exchange.name == exchange for queue in queues) else None
    return [queue for queue in queues if queue.name == direct] or None


def _only_to(app: Any, queues: list[Any]) -> bool:
    """Whether a job can be sent back to the one queue it came from, past its exchange."""
    return len(queues) == 1 and app.connection_for_write().transport.driver_type == "amqp"


def _would_multiply(reason: LockError) -> LockError:
    return type(reason)(
        f"{reason}. The job gives up: it came by a fanout exchange and would go back to all its queues, not to the one"
        " it came from; give such a task lock_wait, or lock_on_contention='skip'",
        reason.key,
        reason.holder,
    )


def _headers(request: Any, key: str | None, in_line: Place | None, *, counted: bool) -> dict[str, Any]:
    headers = {name: value for name, value in (request.headers or {}).items() if not _OF_THE_BROKER.match(name)}
    if in_line:
        headers |= {KEY: key, TICKET: in_line.ticket, PATIENT: in_line.patient, COMES: in_line.comes}
    if counted:
        headers[REQUEUES] = requeues(request) + 1
        headers.setdefault(SINCE, time.time())
    return headers


def _kept(request: Any) -> dict[str, Any]:
    """What `signature_from_request` leaves out."""
    sent = vars(request)
    kept = {
        "serializer": registry.type_to_name.get((request.properties or {}).get("content_type")),
        "compression": sent.get("compression"),
        "ignore_result": sent.get("ignore_result"),
    }
    return {name: value for name, value in kept.items() if value is not None}


def _refused(task: Any, reason: LockError, error: Exception) -> Exception:
    if task.acks_late and _may_pass(task.app, error):
        logger.warning("%s[%s] is rejected back to its queue, for %r", task.name, task.request.id, error)
        return Reject(error, requeue=True)
    return type(reason)(
        f"{reason}. The job could not be put back on its queue ({error!r}) and does not run: send it again, and set"
        " acks_late so that the broker keeps such a job while it cannot be reached",
        reason.key,
        reason.holder,
    )


def _may_pass(app: Any, error: Exception) -> bool:
    """Whether it is the broker that fails, now. A message that cannot be made would come back without an end."""
    transport = app.connection_for_write()
    of_the_broker = (*transport.recoverable_connection_errors, *transport.recoverable_channel_errors)
    return isinstance(error, (OperationalError, OSError, *of_the_broker))
