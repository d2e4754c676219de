"""How a request finds a member that can answer it: over etcd's own JSON gateway, by turns, within a bound."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import time
from typing import TYPE_CHECKING, Any

from celery_locks.stores.etcd.member import Member, is_nobody_there
from celery_locks.stores.etcd.mending import NotNow, Refused, TokenOver, outage, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.stores.etcd.address import Address

#: Between the tries of a request: a cluster that elects a leader says so at once, again and again.
PAUSE = 0.05
#: Told so, a member ends a stream when it has no leader.
LED = {"Grpc-Metadata-hasleader": "true"}
_NO_ANSWER = (OSError, http.client.HTTPException, NotNow)


class Wire:
    """The members of a cluster. Whoever answered last is asked first."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.members = [Member(host, port, address) for host, port in address.hosts]
        # So that many processes do not all ask the first.
        self._turn = os.getpid() % len(self.members)
        self.token = ""

    def talk(self, timeout: float | None = None) -> Talk:
        """The talk of one verb, which as a whole takes no longer than `timeout`."""
        return Talk(self, timeout or self.address.timeout)

    def member(self) -> Member:
        """Whom to ask now."""
        return self.members[self._turn]

    def pass_over(self, member: Member) -> None:
        """Ask the next one from now on."""
        # Another thread may have found out before.
        if self.member() is member:
            self._turn = (self._turn + 1) % len(self.members)

    def close(self) -> None:
        """Give back the connections."""
        for member in self.members:
            member.hang_up()


class Talk:
    """One verb's requests. Each is repeated, at the next member, until it is answered or the verb's time is over.

    A member whose leader has just died keeps a request for longer than a lease may have, so no try is a long one.
    """

    def __init__(self, wire: Wire, timeout: float) -> None:
        self._wire = wire
        self._until = time.monotonic() + timeout

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer. Raises `Refused` when etcd says no, `StoreUnavailable` when nobody can say."""
        (answer,) = self._answered(path, _written(body))
        return answer

    def ask_all(self, path: str, bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The answers to many requests of a stream, in one round trip; the last ones may be missing.

        Told that the connection ends with it, the server reads all that is sent. Else it stops reading at its own
        first answer.
        """
        lines = self._answered(path, b"\n".join(map(_written, bodies)), {"Connection": "close"})
        return [line["result"] for line in lines]

    @contextlib.contextmanager
    def stream(self, path: str, body: dict[str, Any]) -> Iterator[Callable[[float], dict[str, Any]]]:
        """One member's answers to a request, as they come: gives the next, waiting so long for it. It has one try."""
        member = self._wire.member()
        headers = {**LED, **self._login(member)}
        with member.stream(path, _written(body), headers, self._patience()) as line:

            def hear(patience: float) -> dict[str, Any]:
                (told,) = _read(*line(patience))
                return dict(told.get("result", {}))

            yield hear

    def _answered(self, path: str, payload: bytes, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
        failures, absent, logins = 0, 0, 0
        if self._left() <= 0:
            raise outage(self._wire.address.shown, TimeoutError("the answers took too long in all and timed out"))
        while True:
            member = self._wire.member()
            try:
                return self._tried(member, path, payload, headers or {})
            except TokenOver as error:
                logins += 1
                if logins > 1:
                    raise outage(self._wire.address.shown, error) from error
                self._wire.token = ""
            except _NO_ANSWER as error:
                self._wire.pass_over(member)
                failures, absent = failures + 1, absent + 1 if is_nobody_there(error) else 0
                if absent >= len(self._wire.members) or self._left() <= PAUSE:
                    raise outage(self._wire.address.shown, error) from error
                # At first it may be a connection that went stale, or one member of several.
                time.sleep(PAUSE if failures > 1 else 0)

    def _tried(self, member: Member, path: str, payload: bytes, headers: dict[str, str]) -> list[dict[str, Any]]:
        return _read(*member.post(path, payload, {**headers, **self._login(member)}, self._patience()))

    def _login(self, member: Member) -> dict[str, str]:
        if not self._wire.address.user:
            return {}
        # Another thread may find it to be over at any moment.
        token = self._wire.token = self._wire.token or self._logged_in(member)
        return {"Authorization": token}

    def _logged_in(self, member: Member) -> str:
        login = {"name": self._wire.address.user, "password": self._wire.address.password}
        (answer,) = _read(*member.post("/v3/auth/authenticate", _written(login), {}, self._patience()))
        return str(answer["token"])

    def _patience(self) -> float:
        return max(PAUSE, min(self._wire.address.try_timeout, self._left()))

    def _left(self) -> float:
        return self._until - time.monotonic()


def _written(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _read(status: int, body: bytes) -> list[dict[str, Any]]:
    """What a member said, a line each."""
    try:
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
    except ValueError:
        raise _no_etcd(status, body) from None
    if not lines or not isinstance(lines[0], dict):
        raise _no_etcd(status, body)
    for line in lines:
        # An error comes as the answer, or as a line in a stream that began well.
        said = line.get("error")
        if status != http.client.OK or said:
            raise _told(said if isinstance(said, dict) else line)
    return lines


def _told(said: dict[str, Any]) -> Refused:
    return refusal(int(said.get("code") or said.get("grpc_code") or 0), str(said.get("message") or said.get("error")))


def _no_etcd(status: int, body: bytes) -> Refused:
    words = f"HTTP {status}, and the answer is not JSON: {body[:80].decode('utf-8', 'replace')}"
    # A balancer in front of the members says it when none is there.
    return NotNow(0, words) if status >= http.client.BAD_GATEWAY else Refused(0, words)
