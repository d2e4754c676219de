"""What can go wrong with a lock: one base class, six facts."""

from __future__ import annotations


class LockError(Exception):
    """Something about a lock went wrong; the message says what, to which key, and what to do.

    Its arguments are plain strings, so that it survives pickling and JSON result backends.
    """

    def __init__(self, message: str = "", key: str | None = None, holder: str | None = None) -> None:
        super().__init__(message, key, holder)

    @property
    def message(self) -> str:
        """What happened, and what to do."""
        return str(self.args[0])

    @property
    def key(self) -> str | None:
        """The key it is about, when it is about one."""
        return self._at(1)

    @property
    def holder(self) -> str | None:
        """The owner that has the key, when the store could tell."""
        return self._at(2)

    def __str__(self) -> str:
        return self.message

    def _at(self, index: int) -> str | None:
        # A result backend may give back fewer arguments than were stored.
        return self.args[index] if len(self.args) > index else None


class LockTimeout(LockError):
    """The key was taken for longer than we were willing to wait."""


class LockLost(LockError):
    """The lease ended while the work was still going on: another owner may have the key."""


class LockNotOwned(LockError):
    """A lock was to be released or renewed by somebody who does not hold it; nothing was changed."""


class StaleFence(LockError):
    """A write was refused, and nothing was written: somebody with a higher fence has written since."""


class StoreUnavailable(LockError):
    """The store could not answer; whether the key is taken is not known."""


class LockConfigError(LockError):
    """A setting, option, URL or key template is wrong; the message names the mend."""
