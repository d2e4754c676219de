"""The lines of the view as cells of text, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery_locks.cli import people
from celery_locks.cli.printing import UNKNOWN, span

if TYPE_CHECKING:
    from celery_locks.cli.top.reading import Line
    from celery_locks.owner import Owner

#: So many letters of a message's id are shown beside its task.
_ID = 8
HEADINGS = ("KEY", "AGE", "TTL", "WAITING", "CONFLICTS", "HOLDER")


def cells(line: Line, now: float) -> tuple[str, ...]:
    """What is shown of a line, a text for each heading."""
    holding, owner, since = line.seen
    age = None if since is None else max(0.0, now - since)
    numbers = (UNKNOWN if each is None else str(each) for each in (line.waiting, line.conflicts))
    return line.key, span(age), span(holding.remaining), *numbers, owner.brief


def short(owner: Owner) -> str:
    """An owner's name for a narrow place: Celery's ids are long."""
    if owner.task_id is None or len(owner.task_id) <= _ID:
        return owner.brief
    return f"{owner.task}[{owner.task_id[:_ID]}…]@{owner.host}:{owner.pid}"


def told(line: Line) -> dict[str, Any]:
    """A line as JSON."""
    return {"key": line.key, **people.told(line.seen), "waiting": line.waiting, "conflicts": line.conflicts}
