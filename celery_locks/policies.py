"""What becomes of a job whose key is taken. A policy returns a decision; the faces act on it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from celery_locks import duration
from celery_locks.errors import LockConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bounds of the "auto" countdown, in seconds.
SOONEST, LATEST = 1.0, 30.0


@dataclass(frozen=True)
class Contention:
    """A job met a taken key.

    `holder`, `remaining` (seconds the lease has left) and `place` (in line, from 1) are None where the store cannot
    tell. `waited` counts seconds since the job first met its key taken, `requeues` how often it went back since.
    """

    key: str
    task: str
    task_id: str | None
    holder: str | None
    remaining: float | None
    place: int | None
    requeues: int
    waited: float

    def __str__(self) -> str:
        by = f"held by {self.holder}" if self.holder else "taken"
        place = f", place {self.place} in line" if self.place else ""
        return f"{self.key!r} is {by}{place}"


@dataclass(frozen=True)
class Requeue:
    """Put the job back on its queue, to run in `delay` seconds; None: as `lock_countdown` says."""

    delay: float | None = None


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = _Nothing()


@dataclass(frozen=True)
class Skip:
    """Do not run the job. With a result it ends well with that value; without one it ends revoked, with the reason."""

    result: Any = NOTHING
    reason: str | None = None


@dataclass(frozen=True)
class Fail:
    """End the job with `LockTimeout`."""

    reason: str | None = None


Decision: TypeAlias = "Requeue | Skip | Fail"


class Decides(Protocol):
    """A callable policy, also one written as a static method."""

    def __call__(self, contention: Contention, /) -> Decision:
        """What becomes of the job."""


Policy: TypeAlias = "Literal['requeue', 'skip', 'fail'] | Decision | Decides | Callable[[Contention], Decision]"
NAMED: dict[str, Decision] = {"requeue": Requeue(), "skip": Skip(), "fail": Fail()}


def decide(policy: Policy, contention: Contention, *, most: int | None, longest: float | None) -> Decision:
    """The policy's decision, unless the job has gone back too often or for too long."""
    decision = _ask(policy, contention)
    if isinstance(decision, Requeue):
        if most is not None and contention.requeues >= most:
            return Fail(f"it went back to its queue {contention.requeues} times (lock_max_requeues={most})")
        if longest is not None and contention.waited >= longest:
            return Fail(f"it has waited for {contention.waited:.1f} s (lock_max_wait={longest:g})")
    return decision


def countdown(
    asked: float | str,
    contention: Contention,
    *,
    longest: float | None = None,
    in_line: bool = False,
    chance: Callable[[], float] = random.random,
) -> float:
    """Seconds until a re-queued job tries again, should nobody call it before.

    "auto" is near the longest for a job that is in line and will be called. Else it grows with the number of tries and
    the place in line, is no longer than the holder's lease can last, and has a random part so that jobs that met do
    not meet again: between 1 and 30 s. No job waits past the end of its `longest`, counted from its first contention.
    """
    delay = _auto(contention, chance, in_line=in_line) if isinstance(asked, str) else asked
    return delay if longest is None else min(delay, max(0.0, longest - contention.waited))


def until_free(asked: float | str, contention: Contention, *, in_line: bool) -> float | str:
    """What a job asks for that waits for a key which its own try before left taken: "auto" is until that is over.

    There are no others whom it would meet again by coming when they do.
    """
    if in_line or contention.remaining is None or not isinstance(asked, str):
        return asked
    return min(LATEST, max(SOONEST, contention.remaining))


def is_patient(asked: float | str, longest: float | None) -> bool:
    """Whether the worker that holds a job may let it wait for longer than the countdown it came with."""
    return isinstance(asked, str) and longest is None


def _auto(contention: Contention, chance: Callable[[], float], *, in_line: bool) -> float:
    if in_line:
        return LATEST * (0.8 + 0.2 * chance())
    longest = 2 * SOONEST * (1 + max(contention.requeues, (contention.place or 1) - 1))
    if contention.remaining is not None:
        longest = min(longest, max(2 * SOONEST, contention.remaining))
    return SOONEST + chance() * (min(longest, LATEST) - SOONEST)


def after_outage(asked: float | str, chance: Callable[[], float] = random.random) -> float:
    """Seconds until a job tries again whose store could not be reached: long enough for a restart, spread out."""
    return asked if not isinstance(asked, str) else 5.0 + 10.0 * chance()


def _ask(policy: Policy, contention: Contention) -> Decision:
    if isinstance(policy, str):
        return NAMED[policy]
    decision = policy(contention) if callable(policy) else policy
    if not isinstance(decision, (Requeue, Skip, Fail)):
        raise LockConfigError(
            f"{contention.task}: lock_on_contention gave {decision!r}; return Requeue(delay), Skip(...) or Fail(...)",
            contention.key,
        )
    if isinstance(decision, Requeue) and decision.delay is not None:
        duration.seconds("the delay of a Requeue", decision.delay, f"task {contention.task}")
    return decision
