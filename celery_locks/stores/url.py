"""What a message may show of a URL."""

from __future__ import annotations

import re

_PARTS = re.compile(r"(?:([a-zA-Z][\w+.-]*)://)?(.*)", re.DOTALL)
_PLACE = re.compile(r"([^/?#]*)([^?#]*)([?#]?)")
_HOSTS = re.compile(r"(?:(?:[\w. -]*|\[[0-9a-fA-F:.]*\])(?::\d*)?(?:,|$))+")
_NUMBERS = (bool, int, float, type(None))


def hidden(url: object) -> str:
    """A URL, or what was given in its place, as a message may show it: quoted, and without its secrets.

    A user may be the password, as in `redis://secret@host`, and any option may be one: neither is shown. Where it
    cannot be told what is a part of them, as with a `?` before an `@`, nothing but the scheme is.
    """
    if not isinstance(url, str):
        return repr(url) if isinstance(url, _NUMBERS) else f"a {type(url).__name__}"
    scheme, rest = _PARTS.fullmatch(url).groups("")  # type: ignore[union-attr]  # it matches whatever there is
    login, at, place = rest.rpartition("@")
    shown = "***" if "?" in login or "#" in login else f"{'***@' if at else ''}{_shown(place)}"
    return repr(f"{scheme}://{shown}" if scheme else shown)


def _shown(place: str) -> str:
    hosts, path, mark = _PLACE.match(place).groups()  # type: ignore[union-attr]  # the same
    # What stands where a port should, and is none, may be a password whose host was forgotten.
    if not _HOSTS.fullmatch(hosts) or ":" in path:
        return "***"
    return f"{hosts}{path}{mark and f'{mark}***'}"
