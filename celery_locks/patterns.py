"""What `lock_tasks` says of a task: options by its exact name, or by the glob that says most about it."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from celery_locks import config
from celery_locks.errors import LockConfigError
from celery_locks.options import NAMES, unknown
from celery_locks.stores import hidden

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery_locks.config import Settings

#: What stands for other characters in a glob.
_WILD = re.compile(r"\[[^\]]+\]|[*?]")
#: What is said of a task that is to be left alone.
ALONE = None


class Chosen(NamedTuple):
    """What is said of one task: options by their `lock_` names, or that it is left alone."""

    pattern: str
    options: Mapping[str, Any] | None
    is_exact: bool

    def over(self, declared: Mapping[str, Any]) -> dict[str, Any]:
        """With what the task itself declares: an exact name has the last word, a glob fills in what is left open."""
        given = self.options or {}
        return {**declared, **given} if self.is_exact else {**given, **declared}

    @property
    def where(self) -> str:
        """How an error names it."""
        return f"lock_tasks[{self.pattern!r}]"


class Patterns:
    """What `lock_tasks` maps: exact names and globs, each to options with or without `lock_` before their names."""

    def __init__(self, given: Mapping[str, Any] | None) -> None:
        if given is not None and not isinstance(given, Mapping):
            raise LockConfigError(
                f"lock_tasks must map names of tasks to their options, not be {hidden(given)}: write"
                ' {"shop.tasks.sync_*": {"key": "sync:{account_id}"}}'
            )
        said = [_chosen(pattern, options) for pattern, options in (given or {}).items()]
        self._exact = {each.pattern: each for each in said if each.is_exact}
        # The first of those that say as much.
        self._globs = sorted((each for each in said if not each.is_exact), key=_vagueness)

    @classmethod
    def of(cls, conf: Settings) -> Patterns:
        """Those of an app. Raises `LockConfigError` saying what to mend."""
        return cls(config.setting(conf, "lock_tasks"))

    def chosen(self, name: str) -> Chosen | None:
        """What is said of the task of this name."""
        exact = self._exact.get(name)
        return exact or next((each for each in self._globs if fnmatch.fnmatchcase(name, each.pattern)), None)

    def unmatched(self, names: Iterable[str]) -> list[str]:
        """Those that match none of these names: of a glob too that always finds another before it, nothing is said."""
        known = set(names)
        return [each for each in self._exact if each not in known] + [
            each.pattern for each in self._globs if not fnmatch.filter(known, each.pattern)
        ]


def _chosen(pattern: object, options: object) -> Chosen:
    if not isinstance(pattern, str) or not pattern:
        raise LockConfigError(f"lock_tasks: {pattern!r} is no name of a task: write a name, or a glob such as 'shop.*'")
    if options is not ALONE and not isinstance(options, Mapping):
        raise LockConfigError(
            f"lock_tasks[{pattern!r}] must be options such as {{'key': 'shop:{{id}}', 'ttl': 60}}, or None to leave"
            f" such tasks alone, not {hidden(options)}"
        )
    named = None if options is ALONE else {_option(pattern, name): value for name, value in options.items()}
    return Chosen(pattern, named, is_exact=not _WILD.search(pattern))


def _option(pattern: str, name: object) -> str:
    plain = name if isinstance(name, str) else repr(name)
    full = plain if plain.startswith("lock_") else f"lock_{plain}"
    if full not in NAMES:
        raise LockConfigError(f"lock_tasks[{pattern!r}]: {unknown('option', full)}")
    return full


def _vagueness(said: Chosen) -> tuple[int, int]:
    """How little a glob says: the fewer characters of its own, and the more stars, the later it is asked."""
    return -len(_WILD.sub("", said.pattern)), said.pattern.count("*")
