"""Writes into each signature of a canvas which step of the workflow it is.

A signature is a dict, in this process and in a message alike: it is read and written as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from celery.utils.functional import maybe_list

from celery_locks.canvas.carried import ERROR, HEADER
from celery_locks.errors import LockConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from celery_locks.canvas.carried import Carried


class Stage(NamedTuple):
    """Members that come at the same time: one, or those of a group."""

    members: list[Any]
    together: bool


def stages(canvas: Any) -> list[Stage]:
    """The stages of a canvas, in the order in which they run."""
    kind, parts = canvas.get("subtask_type"), canvas["kwargs"]
    if kind == "chain":
        return [stage for part in parts["tasks"] for stage in stages(part)]
    if kind == "chord":
        return [Stage([*_leaves(parts["header"])], together=True), *stages(parts["body"])]
    if kind == "group":
        return [Stage([*_leaves(canvas)], together=True)]
    return [Stage([_leaf(canvas)], together=False)]


def mark(canvas: Any, carried: Carried) -> None:
    """Make a canvas steps of a workflow, from the one that is given to the one that comes after it.

    What is marked already stays as it is.
    """
    fresh = [stage for stage in stages(canvas) if not all(_is_marked(each) for each in stage.members)]
    if fresh and carried.next is None and fresh[-1].together and not carried.together:
        raise LockConfigError(
            f"{carried.shown}: the workflow ends in a group, so nobody would know when its last task is done:"
            " put one task behind it, as in chord(group, finish.s())"
        )
    steps = _steps(fresh, carried.step)
    for stage, step, after in zip(fresh, steps, [*steps[1:], carried.next], strict=True):
        # Whatever comes in the place of one that runs beside others does so too.
        mine = carried if carried.together else carried._replace(step=step, next=after, together=stage.together)
        for member in stage.members:
            _write(member, mine)
    groups = [step for stage, step in zip(fresh, steps, strict=True) if stage.together]
    for errback, is_of_all in errbacks(canvas):
        mark_errback(errback, carried, groups if is_of_all else ())


def _steps(fresh: list[Stage], first: str) -> list[str]:
    """A name for each stage. One behind a group has the group's: none of its members could hand on the key."""
    steps = [first]
    for number, stage in enumerate(fresh[:-1], 1):
        steps.append(steps[-1] if stage.together else f"{first}.{number}")
    return steps


def mark_errback(errback: Any, carried: Carried, groups: Iterable[str]) -> None:
    """Make it a step of its own, with which the workflow ends, also when one of these groups fails."""
    if not all(_is_marked(each) for stage in stages(errback) for each in stage.members):
        mark(errback, carried._replace(step=ERROR, next=None, together=False, groups=tuple(groups)))


def groups_of(canvas: Any, first: str) -> list[str]:
    """The steps of its groups."""
    found = stages(canvas)
    return [step for stage, step in zip(found, _steps(found, first), strict=True) if stage.together]


def errbacks(canvas: Any, *, is_of_all: bool = True) -> Iterator[tuple[Any, bool]]:
    """What is called when something in a canvas fails; and whether no task of a group runs any more by then."""
    for errback in maybe_list(canvas["options"].get("link_error")) or ():
        yield errback, is_of_all
    parts = canvas["kwargs"]
    match canvas.get("subtask_type"):
        case "chain":
            inner = [(each, is_of_all) for each in parts["tasks"]]
        case "group":
            inner = [(each, False) for each in parts["tasks"]]
        case "chord":
            inner = [*((each, False) for each in _tasks(parts["header"])), (parts["body"], is_of_all)]
        case _:
            inner = []
    for part, is_of_all_of_it in inner:
        yield from errbacks(part, is_of_all=is_of_all_of_it)


def _leaves(canvas: Any) -> Iterator[Any]:
    for part in _tasks(canvas):
        for stage in stages(part):
            yield from stage.members


def _tasks(canvas: Any) -> Any:
    """The members of a group, of which a chord has one, or a list."""
    return canvas["kwargs"]["tasks"] if isinstance(canvas, dict) else canvas


def _leaf(signature: Any) -> Any:
    if signature["task"] == "celery.chunks":
        raise LockConfigError(
            "a baton cannot go through chunks, which are made when they are sent: write chunks.group()"
        )
    return signature


def _is_marked(member: Any) -> bool:
    return HEADER in (member["options"].get("headers") or ())


def _write(member: Any, carried: Carried) -> None:
    member["options"]["headers"] = {**(member["options"].get("headers") or {}), HEADER: carried.written()}
