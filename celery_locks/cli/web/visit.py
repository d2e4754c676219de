"""One request: read in time, judged, answered, and the connection closed."""

from __future__ import annotations

import io
import json
import logging
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from celery_locks.cli.web import gate
from celery_locks.cli.web.gate import Refused
from celery_locks.errors import LockConfigError, LockError, StoreUnavailable

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from celery_locks.cli.web.server import Server

logger = logging.getLogger("celery_locks")

#: Seconds for all that a client has to say, however slowly it says it; and for it to take the answer.
TO_READ, TO_SEND = 5.0, 10.0
#: More than a key that any store could keep.
LONGEST_BODY = 65_536
_JSON = "application/json"
#: Nothing is loaded that is not ours, nothing inline is run, nobody puts us in a frame, nothing is kept.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Answer(NamedTuple):
    """What is sent back."""

    body: bytes
    kind: str = _JSON
    status: int = 200

    @classmethod
    def of(cls, told: Any, status: int = 200) -> Answer:
        """As JSON."""
        return cls(json.dumps(told).encode(), _JSON, status)


class _InTime(io.RawIOBase):
    """Reads from a connection until a moment. A timeout of the socket alone would begin anew with each byte."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._end = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self._connection.settimeout(left)
        return self._connection.recv_into(into)


class Visit(BaseHTTPRequestHandler):
    """A connection with one request."""

    server: Server

    def setup(self) -> None:
        """Bound the time of all that is to be read."""
        super().setup()
        self.rfile = io.BufferedReader(_InTime(self.connection, TO_READ))

    def version_string(self) -> str:
        """What we are called, and no version of Python."""
        return "celery-locks"

    def do_GET(self) -> None:
        """Show something. Nothing is changed by it."""
        self._send(self._judged(self._shown))

    def do_POST(self) -> None:
        """Release a key."""
        # Read before it is judged: what is left unread when a connection is closed takes the answer with it.
        body = self._judged(self._body)
        self._send(body if isinstance(body, Answer) else self._judged(lambda: self._released(body)))

    def send_error(self, code: int, message: str | None = None, _explain: str | None = None) -> None:
        """Say what the standard library could not read, as everything else is said."""
        self._send(Answer.of({"error": message or "this cannot be asked"}, code))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name for it
        """Say nothing: an operator's terminal is no log of a web server."""

    def _shown(self) -> Answer:
        gate.from_our_page(self.headers, changes=False)
        asked = urlsplit(self.path)
        page = self.server.pages.get(asked.path)
        if page:
            # It tells nothing of the store: whoever has no pass is asked for it there.
            return Answer(page.body, page.kind)
        self._let_in()
        question = self.server.questions.get(asked.path)
        if question is None:
            raise Refused(404, "there is no such page")
        return Answer.of(question(dict(parse_qsl(asked.query))))

    def _released(self, body: bytes) -> Answer:
        gate.from_our_page(self.headers, changes=True)
        self._let_in()
        if self.path != "/api/release":
            raise Refused(404, "there is nothing else to be done here")
        if self.headers.get_content_type() != _JSON:
            raise Refused(415, f"not {_JSON}: nothing was changed")
        try:
            asked = json.loads(body)
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            raise Refused(400, "not an object: nothing was changed")
        return Answer.of(self.server.release(asked))

    def _let_in(self) -> None:
        gate.with_pass(self.headers, self.server.expected)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            raise Refused(411, "how long it is was not said")
        if len(length) > len(str(LONGEST_BODY)) or int(length) > LONGEST_BODY:
            raise Refused(413, f"longer than {LONGEST_BODY} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Refused(400, "it ended too early")
        return body

    def _judged(self, work: Callable[[], Any]) -> Any:
        """What this gives, or an answer that says why not. Nobody is shown a traceback."""
        try:
            return work()
        except Refused as refused:
            return Answer.of({"error": refused.why}, refused.status)
        except StoreUnavailable as error:
            return Answer.of({"error": error.message}, 503)
        except LockError as error:
            return Answer.of({"error": error.message}, 400 if isinstance(error, LockConfigError) else 409)
        except TimeoutError:
            return Answer.of({"error": "the request took too long"}, 408)
        except Exception as error:
            # Whatever a client raises may name a password.
            logger.debug("a question of the page failed", exc_info=True)
            return Answer.of({"error": f"this cannot be told: {type(error).__name__}"}, 500)

    def _send(self, answer: Answer) -> None:
        self.connection.settimeout(TO_SEND)
        self.send_response(answer.status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{answer.kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
