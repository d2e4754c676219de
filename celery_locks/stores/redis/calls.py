"""A script with what it is told, as it goes to a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_locks.stores.redis.scripts import Script


class Call(NamedTuple):
    """A script, the keys it is for, and what else it is told."""

    script: Script
    names: Sequence[Any]
    arguments: tuple[Any, ...] = ()

    def by_sha(self) -> tuple[Any, ...]:
        """As a command that names the script."""
        return ("EVALSHA", self.script.sha, len(self.names), *self.names, *self.arguments)

    def in_full(self) -> tuple[Any, ...]:
        """As a command that brings the script along, for a server that does not know it."""
        return ("EVAL", self.script.text, len(self.names), *self.names, *self.arguments)


def in_one(calls: Sequence[Call]) -> Call:
    """One call for the keys of all of them, which are of one script that takes many."""
    names = [name for call in calls for name in call.names]
    return Call(calls[0].script, names, tuple(argument for call in calls for argument in call.arguments))
