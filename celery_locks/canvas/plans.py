"""How the members of a workflow take its key: a plan, as that of a locked task."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from celery_locks import config, duration
from celery_locks.canvas.carried import HEADER, found
from celery_locks.errors import LockConfigError
from celery_locks.options import Options
from celery_locks.plan import Plan
from celery_locks.requeue import place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_locks.canvas.carried import Carried

#: What may be said of a baton besides its key and ttl, each as the option of a task by that name.
TOLD = ("wait", "on_contention", "countdown", "max_requeues", "max_wait", "on_lost", "on_outage", "store", "fair")


def plan_of(app: Any, carried: Carried) -> Plan:
    """The plan of a member. Its options were checked by whoever sent the workflow."""
    fair = carried.options.get("fair", True) and not carried.together
    options = dataclasses.replace(Options(key=[*carried.keys], ttl=carried.ttl), **{**carried.options, "fair": fair})
    # Those that run together do not wait in line: the first of them would be called, and the others stay there.
    return Plan(options, lambda *_: carried.keys, app, carried.shown)  # type: ignore[arg-type]


def plan_for(task: Any, sent: Mapping[str, Any]) -> Plan | None:
    """How a message takes the key that it comes for: that of its workflow, unless it is in line for its task's own."""
    if HEADER in sent and (carried := found(sent)):
        waits = place(sent)
        if waits is None or waits[0] in carried.keys:
            return plan_of(task.app, carried)
    own: Plan | None = getattr(task, "_plan", None)
    return own


def checked(app: Any, where: str, given: dict[str, Any]) -> Options:
    """The options of a baton, by what is said of it and else by the settings."""
    for name in given:
        if name not in (*TOLD, "ttl"):
            raise LockConfigError(f"{where}: unknown option {name}: known are ttl, travel, {', '.join(TOLD)}")
    settings = {name: each for name, each in config.defaults(app.conf).items() if name[5:] in (*TOLD, "ttl")}
    options = Options.made({**settings, **{f"lock_{name}": each for name, each in given.items()}}, where=where)
    if not isinstance(options.on_contention, str):
        raise LockConfigError(f"{where}: on_contention travels in a message: use 'requeue', 'skip' or 'fail'")
    if options.on_outage == "run":
        raise LockConfigError(f"{where}: a member never runs without the key: on_outage is 'requeue' or 'fail'")
    return options


def told(options: Options) -> dict[str, Any]:
    """What the messages have to say of these options."""
    usual = Options()
    return {name: each for name in TOLD if (each := getattr(options, name)) != getattr(usual, name)}


def travel_of(where: str, travel: float | None, ttl: float) -> float:
    """How long the lease lasts while a message is on its way."""
    return ttl if travel is None else duration.ttl("travel", travel, where)
