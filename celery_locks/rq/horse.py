"""What the process is that runs a job: a horse of a worker of ours, one of any worker, or the worker itself."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rq.job import Job

#: A letter to the main process fits into its box whole, or is not sent.
LONGEST = 4096


class Mail:
    """A box for letters to a worker's main process, from itself and from all that are forked from it."""

    def __init__(self, fds: tuple[int, int] | None = None) -> None:
        self.fd, self._slot = fds or os.pipe()
        for end in (self.fd, self._slot):
            os.set_blocking(end, False)
        self._half = b""

    @property
    def slot(self) -> int:
        """Where letters are put in."""
        return self._slot

    def send(self, **letter: Any) -> None:
        """Send a letter, which wakes who reads. One that does not fit is lost: none is needed, all save time."""
        text = json.dumps(letter, default=repr).encode() + b"\n"
        try:
            os.write(self._slot, text if len(text) <= LONGEST else b"{}\n")
        except OSError:
            # A full box has woken the reader already; a closed one has none.
            return

    def read(self) -> list[dict[str, Any]]:
        """The letters that have come."""
        text = self._half
        try:
            while got := os.read(self.fd, 65536):
                text += got
        except BlockingIOError:
            pass
        *lines, self._half = text.split(b"\n")
        return [json.loads(line) for line in lines if line]


#: The box of the worker of ours that this process is or belongs to.
mail: Mail | None = None
#: Whether this process was made to run one job, and may be ended for it.
_is_horse = False


def belong(to: Mail | None, *, is_horse: bool) -> None:
    """Note what this process is."""
    global mail, _is_horse
    mail, _is_horse = to, is_horse


def is_ours() -> bool:
    """Whether a worker of ours runs its jobs, and attends to those that wait."""
    return mail is not None


def may_end(job: Job) -> bool:
    """Whether this process can be ended without ending the worker. Any worker says so to what it forks for a job."""
    return _is_horse or os.environ.get("RQ_JOB_ID") == job.id


def tell(**letter: Any) -> None:
    """Write to the main process of the worker, if it is one of ours."""
    if mail is not None:
        mail.send(**letter)
