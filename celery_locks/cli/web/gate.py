"""Who may ask: a page of ours, at a name of this machine, that was given the pass. Why: docs/why.md."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from typing import TYPE_CHECKING

from celery_locks.errors import LockConfigError

if TYPE_CHECKING:
    from email.message import Message

#: The header in which our page sends the pass. No form and no picture of another page can send a header.
HEADER = "X-Celery-Locks-Pass"
#: What a browser on this machine may call it. The port is another one behind a tunnel.
_OURS = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_LOGIN = (
    "the page has no login of its own, and whoever could open it could free every key: it listens on this machine"
    " alone. From elsewhere open a tunnel, ssh -L {port}:127.0.0.1:{port} HOST (or kubectl port-forward), and open the"
    " printed URL there"
)


class Refused(Exception):
    """A request that is not answered, and the status that says so."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


def new_pass() -> str:
    """A pass for one start of the page."""
    return secrets.token_urlsafe(24)


def loopback(host: str, port: int) -> str:
    """The address to listen at. Raises `LockConfigError` for one that others can reach."""
    # A name may stand for any address, and for another one tomorrow.
    named = "127.0.0.1" if host.lower() == "localhost" else host.strip("[]")
    try:
        address = ipaddress.ip_address(named)
    except ValueError:
        raise LockConfigError(f"--host {host!r} is no address of this machine alone: {_because(port)}") from None
    if not address.is_loopback:
        raise LockConfigError(f"--host {host!r} could be reached from other machines: {_because(port)}")
    return named


def at_our_name(headers: Message) -> str:
    """The name by which we were called: another page whose name was made to point here is refused."""
    names = headers.get_all("Host", [])
    if len(names) != 1 or not _OURS.fullmatch(names[0]):
        raise Refused(403, "called by a name that is not this machine's own: open the printed URL, at 127.0.0.1")
    return str(names[0])


def from_our_page(headers: Message, *, changes: bool) -> None:
    """Refuse what another page has sent. What changes something must say where it comes from, as browsers do."""
    name, origin = at_our_name(headers), headers.get("Origin")
    if origin is None:
        if changes:
            raise Refused(403, "no Origin: only the page itself may release; scripts have celery-locks release")
    elif origin.lower() != f"http://{name}".lower():
        raise Refused(403, "sent by a page of somebody else: nothing was changed")


def with_pass(headers: Message, expected: str) -> None:
    """Refuse who was not given the pass."""
    given = headers.get(HEADER, "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
        raise Refused(401, "the pass is missing or from an earlier start: open the URL that the command has printed")


def _because(port: int) -> str:
    return _LOGIN.format(port=port or "PORT")
