"""A page that is served by a thread of the test, and what a visitor says to it, right or wrong."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

from celery_locks.cli.web.gate import HEADER
from celery_locks.cli.web.server import Server
from celery_locks.cli.web.window import Window
from celery_locks.lease import Claim, Lease, new_owner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores import Store

PATIENCE = 30.0


class Answered(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> Any:
        """Its object."""
        return json.loads(self.body)


class Site:
    """Where the page is, and the terminal of whoever has started it."""

    def __init__(self, url: str, told: list[str]) -> None:
        self.url, self.told = url, told
        parts = urlsplit(url)
        self.host, self.port = str(parts.hostname), int(parts.port or 0)
        self.origin = f"http://{parts.netloc}"
        self.known = parts.fragment.removeprefix("pass=")

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str | None) -> Answered:
        """One request as our page sends it, but for headers that are given; None: without that one."""
        sent = {"Host": urlsplit(self.origin).netloc, HEADER: self.known}
        if method == "POST":
            sent |= {"Origin": self.origin, "Content-Type": "application/json", "Content-Length": str(len(body or b""))}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}  # type: ignore[dict-item]
        line = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
        with contextlib.closing(line):
            line.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value is not None:
                    line.putheader(name, value)
            line.endheaders(body)
            answer = line.getresponse()
            return Answered(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def get(self, path: str, **headers: str | None) -> Answered:
        """See something."""
        return self.ask("GET", path, **headers)

    def release(self, key: object, fence: object, **headers: str | None) -> Answered:
        """Free a key."""
        return self.ask("POST", "/api/release", json.dumps({"key": key, "fence": fence}).encode(), **headers)

    def rows(self, path: str = "/api/locks") -> list[Any]:
        """The list."""
        return list(self.get(path).said["rows"])

    def one(self, key: str) -> Any:
        """One key."""
        return self.get(f"/api/lock?key={quote(key)}").said


@contextlib.contextmanager
def served(store: Store, app: Any = None, host: str = "127.0.0.1") -> Iterator[Site]:
    """The page of a store."""
    told: list[str] = []
    with Server(host, 0, Window(store, "memory://bank", app), told.append) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="page")
        thread.start()
        try:
            yield Site(server.url, told)
        finally:
            server.shutdown()
            thread.join(PATIENCE)


def take(store: Store, key: str, name: str = "bank.withdraw[6b1c]") -> Lease:
    """A key that is held."""
    lease = store.acquire(Claim(key, new_owner(name), 30.0))
    assert isinstance(lease, Lease)
    return lease
