"""The scripts, one a verb, each in its own file."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import NamedTuple


class Script(NamedTuple):
    """A script's text and the name Redis knows it by."""

    text: str
    sha: str


def _read(*names: str) -> Script:
    folder = files("celery_locks.stores.redis") / "scripts"
    lines = [line.strip() for name in names for line in (folder / f"{name}.lua").read_text("utf-8").splitlines()]
    # Without what is for readers: a script may be the last words of a client, of which a server that finds it gone has
    # read 16 kB at most.
    text = "".join(f"{line}\n" for line in lines if line and not line.startswith("--"))
    return Script(text, sha_of(text))


def sha_of(text: str) -> str:
    """The name by which Redis knows a script with this text."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


#: What the verbs share that move a line on.
_LINES = ("line", "home", "turn", "hand_over", "crowd", "places")

ACQUIRE = _read(*_LINES, "fence", "waited", "memory", "join", "acquire")
#: To hold a key together with others.
ENTER = _read(*_LINES, "fence", "waited", "memory", "join", "enter")
#: To hold several keys.
_SEVERAL = ("one_of_several", "all_of_several")
ACQUIRE_TOGETHER = _read(*_LINES, "fence", "waited", "memory", "join", *_SEVERAL, "acquire_together")
LEVEL = _read("level")
RENEW = _read("renew")
RELEASE = _read(*_LINES, "waited", "heir", "release")
#: To have one of several keys kept that was just taken.
STEP_ASIDE = _read(*_LINES, "step_aside")
FORCE_RELEASE = _read(*_LINES, "force_release")
ATTEND = _read(*_LINES, "waited", "memory", "attend")
LEAVE = _read(*_LINES, "leave")
INSPECT = _read("inspect")
SET_SLOTS = _read(*_LINES, "set_slots")
SLOTS = _read("slots")
#: What an operator asks for.
EVICT = _read(*_LINES, "evict", "force_release")
QUEUE = _read("line", "queue")
WAITING = _read("line", "waiting")
MOST_CONTENDED = _read("most_contended")
CONFLICTS = _read("conflicts")
NOTE = _read("note")
IS_NOTED = _read("is_noted")
TAKE_UP = _read("take_up")
PUT = _read("put")
