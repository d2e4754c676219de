"""Requests to end the show, Ctrl-C among them: heeded once, and never between a process's start and its being known."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import NoReturn

REQUESTS = (signal.SIGINT, signal.SIGTERM)


def heed() -> None:
    """From now on, a request to end raises KeyboardInterrupt."""
    for request in REQUESTS:
        signal.signal(request, interrupt)


def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    """The first request to end stops the show; a second must not stop the cleaning up."""
    for request in REQUESTS:
        signal.signal(request, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def undisturbed() -> Iterator[None]:
    """A request to end that comes meanwhile is heeded afterwards.

    Blocking the signals would not do: a process started meanwhile would have them blocked for ever.
    """
    arrived: list[int] = []
    before = {request: signal.signal(request, lambda number, _: arrived.append(number)) for request in REQUESTS}
    try:
        yield
    finally:
        for request, handler in before.items():
            signal.signal(request, handler)
        for number in arrived[:1]:
            signal.raise_signal(number)
