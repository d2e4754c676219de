"""A step of beat that the end of its process waits for."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """Have SIGTERM and Ctrl-C wait until this is done, so that what was published is also noted.

    A second one does not wait. Only the main thread is ever interrupted by them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDS}
    asked: list[int] = []

    def later(number: int, _: Any) -> None:
        if asked:
            _restore(before)
            signal.raise_signal(number)
        asked.append(number)

    try:
        for number in _ENDS:
            if callable(before[number]):
                signal.signal(number, later)
        yield
    finally:
        _restore(before)
        if asked:
            signal.raise_signal(asked[0])


def _restore(handlers: dict[Any, Any]) -> None:
    for number, handler in handlers.items():
        if callable(handler):
            signal.signal(number, handler)
