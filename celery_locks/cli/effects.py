"""What it does to a holder that its key is released by hand, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.cli import people
from celery_locks.cli.printing import plain

if TYPE_CHECKING:
    from celery_locks.sight import Seen

#: How the keys of places in queues begin.
PLACE = "unique:"
#: What becomes of the holder. It is told by its own heartbeat, which no command can hurry.
TO_A_JOB = (
    "Its job was not stopped: it learns this at its next beat, within a third of its lock_ttl, and lock_on_lost then"
    " says what happens; with lock_heartbeat=False it learns it at its end. What it writes until then only a fence"
    " refuses."
)
TO_A_PLACE = (
    "It was a place in a queue, of a task with lock_unique. Its job waits or runs as it did, and another with its key"
    " can be sent from now on."
)
TO_A_WORKFLOW = (
    "It was a workflow's: its message is still on its way, and the task that comes with it takes the key anew, or waits"
    " for it. Tasks of a group that run under it were not stopped: they learn this at their next beat, within a third"
    " of its ttl, and on_lost then says what happens. What they write until then only a fence refuses."
)
TO_PLAIN_CODE = (
    "Its holder was not stopped: it learns this at its next beat if it has a heartbeat, else when it renews or"
    " releases. What it writes until then only a fence refuses."
)
LOOKED_FIRST = (
    "this store cannot compare the fence and free the key in one step: who had it was looked at just before, and"
    " whoever took it in between was put out instead"
)


def effect_on(key: str, freed: list[Seen]) -> str:
    """What becomes of those that had it."""
    if any(seen.owner.step for seen in freed):
        return TO_A_WORKFLOW
    of_a_job = TO_A_PLACE if key.startswith(PLACE) else TO_A_JOB
    return of_a_job if any(seen.owner.task_id for seen in freed) else TO_PLAIN_CODE


def had_by(key: str, holders: list[Seen]) -> str:
    """A key and who has it."""
    if len(holders) > 1:
        return f"{plain(key)}, held by {len(holders)}"
    [seen] = holders
    since = "" if seen.since is None else f" since {people.since(seen)}"
    return f"{plain(key)}, held by {plain(seen.owner.brief)}{since} (fence {seen.holding.fence})"
