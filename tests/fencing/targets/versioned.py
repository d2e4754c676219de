"""Pages of a web server that takes a new one only for the one that was read: `If-Match` and `ETag`."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from celery_locks.fencing import guarded_write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery_locks.lease import Lease

SERVERS = ("pages_url",)
REFUSED = 412


class _Page:
    """One of them, by HTTP."""

    def __init__(self, target: VersionedTarget, name: str) -> None:
        self._target = target
        self._name = name

    def read(self) -> tuple[str, int, str]:
        answer, body = self._target.ask("GET", self._name)
        page = json.loads(body)
        return page["value"], page["fence"], str(answer.getheader("ETag"))

    def write(self, value: str, fence: int, version: str) -> bool:
        self._target.pause()
        return self.put(value, fence, {"If-Match": version})

    def put(self, value: str, fence: int, headers: dict[str, str]) -> bool:
        body = json.dumps({"value": value, "fence": fence})
        answer, _ = self._target.ask("PUT", self._name, body, headers)
        return answer.status != REFUSED


class VersionedTarget:
    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self.pause: Callable[[], None] = lambda: None

    def ask(self, method: str, name: str, *what: Any) -> tuple[http.client.HTTPResponse, bytes]:
        with contextlib.closing(http.client.HTTPConnection(self._host, timeout=30)) as connection:
            connection.request(method, f"/{quote(name)}", *what)
            answer = connection.getresponse()
            return answer, answer.read()

    def prepare(self, names: Sequence[str]) -> None:
        for name in names:
            _Page(self, name).put("", 0, {})

    def plain(self, name: str, value: str) -> None:
        self.pause()
        _Page(self, name).put(value, 0, {})

    def guarded(self, name: str, value: str, lease: Lease) -> None:
        guarded_write(_Page(self, name), lambda _: value, lease=lease)

    def claim(self, name: str, lease: Lease) -> str:
        return guarded_write(_Page(self, name), str, lease=lease)

    def read(self, name: str) -> str:
        return _Page(self, name).read()[0]

    def fence(self, name: str) -> int:
        return _Page(self, name).read()[1]

    def before_write(self, pause: Callable[[], None]) -> None:
        self.pause = pause

    def close(self) -> None:
        """No connection stays open."""
