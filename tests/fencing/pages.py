"""A web server that keeps pages, each with an ETag, and honours If-Match."""

from __future__ import annotations

import contextlib
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_pages: dict[str, tuple[int, bytes]] = {}
_mutex = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        version, page = _pages.get(self.path, (0, b"null"))
        self._answer(HTTPStatus.OK, version, page)

    def do_PUT(self) -> None:
        page = self.rfile.read(int(self.headers["Content-Length"]))
        with _mutex:
            version, _ = _pages.get(self.path, (0, b""))
            if self.headers.get("If-Match", f'"{version}"') != f'"{version}"':
                self._answer(HTTPStatus.PRECONDITION_FAILED, version)
                return
            _pages[self.path] = (version + 1, page)
        self._answer(HTTPStatus.OK, version + 1)

    def _answer(self, status: HTTPStatus, version: int, page: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("ETag", f'"{version}"')
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class _Server(ThreadingHTTPServer):
    # All of a crowd that comes at once.
    request_queue_size = 128


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """The address of a server without pages, in a thread of this process."""
    _pages.clear()
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
