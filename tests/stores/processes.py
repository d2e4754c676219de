"""Forked processes that end with the test that started them."""

from __future__ import annotations

import multiprocessing
import time
import warnings
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess

#: Celery's prefork pool forks, and so do these: what a fork copies is part of what is tested.
forking = multiprocessing.get_context("fork")


@final
class Crew:
    """Processes that each do one job. Leaving the `with` kills those that still run."""

    def __init__(self) -> None:
        self.members: list[BaseProcess] = []

    def start(self, job: Callable[..., None], *arguments: object) -> BaseProcess:
        """Fork a process that does the job and exits; with 1 and a traceback when it raises."""
        member = forking.Process(target=job, args=arguments, daemon=True)
        with warnings.catch_warnings():
            # Python 3.12 warns of a fork beside threads; a worker's pool does the same.
            warnings.simplefilter("ignore", DeprecationWarning)
            member.start()
        self.members.append(member)
        return member

    def done(self, timeout: float = 240) -> None:
        """Wait until all have done their job well."""
        deadline = time.monotonic() + timeout
        for member in self.members:
            member.join(max(0.0, deadline - time.monotonic()))
        codes = {member.name: member.exitcode for member in self.members if member.exitcode != 0}
        assert not codes, f"exit codes of those that failed (None: still at it after {timeout:g} s): {codes}"

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            if member.exitcode is None:
                member.kill()
            member.join()
