"""The view at a terminal, which is as it was when the view is over."""

from __future__ import annotations

import contextlib
import select
import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console

from celery_locks.cli.top.clerk import Clerk
from celery_locks.cli.top.drawing import Picture
from celery_locks.cli.top.keyboard import Keyboard
from celery_locks.cli.top.reading import answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.cli.top.state import Top
    from celery_locks.stores import Store

#: It is drawn anew at least so often, in seconds: ages grow, and a terminal may have another size.
TICK = 1.0
#: What ends a program, and by default at once: it would leave its picture behind.
_ENDS = (signal.SIGTERM, signal.SIGHUP)


def run(store: Store, place: str, top: Top, every: float) -> None:
    """Show it until somebody quits."""
    keyboard, console = Keyboard(sys.stdin.fileno()), Console()
    clerk = Clerk(partial(answer, store), top.subject, every)
    with contextlib.suppress(KeyboardInterrupt), _ending_well(), keyboard.held(), console.screen() as screen, clerk:
        while not top.is_over:
            screen.update(Picture(top, place, time.time()))
            _step(top, keyboard, clerk)


def _step(top: Top, keyboard: Keyboard, clerk: Clerk) -> None:
    """Wait for a key or an answer, and do what it means."""
    ready, _, _ = select.select([keyboard.fd, clerk.fd], [], [], TICK)
    for each in clerk.answers():
        top.hear(each)
    if keyboard.fd not in ready:
        return
    pressed = keyboard.read()
    if pressed is None:
        top.is_over = True
    for key in pressed or ():
        wish = top.press(key)
        if wish:
            clerk.tell(wish)
        if top.is_over:
            return


@contextlib.contextmanager
def _ending_well() -> Iterator[None]:
    before = {each: signal.signal(each, _end) for each in _ENDS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _end(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)
