"""Listens on this machine alone, with bounds: how many at a time, and how long each may take."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from celery_locks.cli.web import gate
from celery_locks.cli.web.visit import Visit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery_locks.cli.web.window import Window

#: So many requests at a time. One who says nothing keeps a place for seconds, and the others are many.
AT_A_TIME = 64
#: Seconds for what is under way when it is ended.
TO_END = 3.0
_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_FULL = b"HTTP/1.0 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Page(NamedTuple):
    """A file that browsers are given."""

    body: bytes
    kind: str


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """The page of one store. Not `http.server.HTTPServer`, which asks the DNS for its own name."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = AT_A_TIME

    def __init__(self, host: str, port: int, window: Window, told: Callable[[str], None]) -> None:
        self.expected = gate.new_pass()
        self.pages = _pages()
        self.questions: dict[str, Callable[[Mapping[str, str]], dict[str, Any]]] = {
            f"/api/{name}": getattr(window, name) for name in ("locks", "lock", "jobs", "stats")
        }
        self._window = window
        self._told = told
        self._places = threading.BoundedSemaphore(AT_A_TIME)
        address = gate.loopback(host, port)
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), Visit)

    @property
    def url(self) -> str:
        """Where it is, with the pass: behind the #, which a browser keeps to itself."""
        host, port = self.server_address[:2]
        # Never localhost: that may be another address first, at which another user of this machine listens.
        name = f"[{host!s}]" if self.address_family == socket.AF_INET6 else str(host)
        return f"http://{name}:{port}/#pass={self.expected}"

    def release(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Free a key, and tell whoever has started this."""
        done = self._window.release(asked)
        self._told(f"released {done['shown']}, held by {done['holder']}")
        return done

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or say at once that there are too many."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.settimeout(0)
        try:
            request.send(_FULL)
        except OSError:
            pass
        finally:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: whoever asked has gone, and nobody is left to be told."""

    def server_close(self) -> None:
        """Listen no more, and let what is under way come to its end."""
        super().server_close()
        end = time.monotonic() + TO_END
        for _ in range(AT_A_TIME):
            if not self._places.acquire(timeout=max(0.0, end - time.monotonic())):
                return


def _pages() -> dict[str, Page]:
    """Read once: an upgrade beside a running page does not mix two versions."""
    folder = files("celery_locks.cli.web") / "page"
    pages = {f"/{each.name}": Page(each.read_bytes(), _kind(each.name)) for each in folder.iterdir()}
    return {"/": pages["/page.html"], **pages}


def _kind(name: str) -> str:
    return _KINDS[name.rpartition(".")[2]]
