"""`web`: a page for those who would rather look."""

from __future__ import annotations

import contextlib
import errno
import signal
import threading
from typing import TYPE_CHECKING

import click

from celery_locks.cli.desk import Desk, note
from celery_locks.cli.exits import Misused
from celery_locks.cli.printing import as_json, say
from celery_locks.cli.web.server import Server
from celery_locks.cli.web.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Beside Flower's.
PORT = 5556


@click.command("web")
@click.option("--host", default="127.0.0.1", show_default=True, help="An address of this machine alone.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free.")
@as_json
def verb(*, host: str, port: int, as_json: bool) -> None:
    """Serve a page with the keys taken now, their lines, and charts; a key can be released there.

    On this machine alone, and only to whoever has the URL that is printed: it carries a pass for this start. Ctrl-C or
    SIGTERM ends it.
    """
    desk = Desk.here()
    window = Window(desk.store, desk.place, desk.app)
    with _until_told(), _opened(host, port, window) as server:
        said = f"{desk.place} is shown at {server.url}\nCtrl-C ends it."
        say(said, as_json=as_json, store=desk.place, url=server.url)
        server.serve_forever()


def _opened(host: str, port: int, window: Window) -> Server:
    try:
        return Server(host, port, window, note)
    except OSError as error:
        mend = "another page is there already: name another --port, or 0 for any" if _is_taken(error) else "see --host"
        raise Misused(f"cannot listen at {host} port {port}: {error.strerror}; {mend}") from None


def _is_taken(error: OSError) -> bool:
    return error.errno in (errno.EADDRINUSE, errno.EACCES)


@contextlib.contextmanager
def _until_told() -> Iterator[None]:
    """Let SIGTERM end it as Ctrl-C does, and both well."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if main else None
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
