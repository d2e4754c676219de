"""What is said to MySQL and MariaDB. Names are hexadecimal, and so is every text: nothing needs to be escaped."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery_locks.stores.sessions import Held

TABLE = "celery_locks_sessions"
#: A key's row, which remembers its last fence, goes when it was not used for so long. Fences follow the clock beyond.
FENCE_RETENTION = 2 * 86_400
_AT_ONCE = 500
#: So many rows are taken away in one step: others wait for our session meanwhile.
SWEPT_AT_ONCE = 200
_HOUR = 3_600_000_000
_BEFORE_NAME = "celery_locks:"

CREATE = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    name CHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, place BIGINT NOT NULL,
    prefix BLOB NOT NULL, lock_key MEDIUMBLOB NOT NULL, owner BLOB NOT NULL, fence BIGINT NOT NULL,
    session BIGINT UNSIGNED NOT NULL, used_hour INT NOT NULL, INDEX {TABLE}_used_hour (used_hour)
) ENGINE=InnoDB"""
_NOW = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"
_LOCK = f"CONCAT('{_BEFORE_NAME}', name, ':', place)"
_HELD = f"session = IS_USED_LOCK({_LOCK})"
_BEFORE = f"({_NOW} - {FENCE_RETENTION * 1_000_000})"
# One that was forced to another place stays while anybody is at its first one.
_UNUSED = f"""fence < {_BEFORE} AND IS_FREE_LOCK({_LOCK})
AND IS_FREE_LOCK(CONCAT('{_BEFORE_NAME}', name, ':0'))"""

IDENTITY = "SELECT CONNECTION_ID(), VERSION()"


def begin(idle_timeout: float) -> str:
    """How a session begins: how long the server waits for us, also while something is on its way to us."""
    seconds = math.ceil(idle_timeout)
    return f"SET SESSION wait_timeout={seconds}, net_write_timeout={seconds}, net_read_timeout={seconds}"


def unused() -> str:
    """Names of keys that were not used for long. A look locks no rows, and takes nothing from those at work."""
    return f"SELECT name FROM {TABLE} WHERE used_hour <= {_BEFORE} DIV {_HOUR} AND {_UNUSED} LIMIT {SWEPT_AT_ONCE}"


def sweep(names: Iterable[str]) -> str:
    """Forget these, if they are still unused. A key that is being taken at this moment gets its row again."""
    listed = ",".join(f"'{name}'" for name in names)
    return f"DELETE FROM {TABLE} WHERE name IN ({listed}) AND {_UNUSED}"


def lock(name: bytes, place: int) -> str:
    """The name of a lock: 62 characters at most, and the same where capitals are small letters."""
    return f"'{_BEFORE_NAME}{name.hex()}:{place}'"


def take(held: Held, place: int, session: int) -> str:
    """Take the lock, and only then draw a fence, unless the key was forced to another place. One round trip.

    What is indexed changes once an hour, so that a lock that is taken again touches no index.
    """
    here = f"place={place}"
    fence = f"GREATEST(fence+1, {_NOW})"
    row = f"{_name(held.name)}, {place}, {raw(held.prefix)}, {raw(held.key)}, {raw(held.owner)}"
    return f"""
SET @celery_locks=IF(CONNECTION_ID()={session}, GET_LOCK({lock(held.name, place)}, 0), NULL);
INSERT INTO {TABLE} (name, place, prefix, lock_key, owner, fence, session, used_hour)
SELECT {row}, LAST_INSERT_ID({_NOW}), {session}, {_NOW} DIV {_HOUR} FROM DUAL WHERE @celery_locks=1
ON DUPLICATE KEY UPDATE fence=IF({here}, LAST_INSERT_ID({fence}), fence), owner=IF({here}, {raw(held.owner)}, owner),
session=IF({here}, {session}, session), used_hour=fence DIV {_HOUR}"""


def why_not(name: bytes) -> str:
    """Why nothing was taken: GET_LOCK's answer, whose connection this is, where the key is now, and who has it."""
    return f"""
SELECT @celery_locks, CONNECTION_ID(), place, IF({_HELD}, owner, NULL)
FROM (SELECT 1 AS one) AS one LEFT JOIN {TABLE} ON name={_name(name)}"""


def give_back(held: Held) -> str:
    """Whether the key was still ours, and free it."""
    ours = f"SELECT fence={held.fence} AND place={held.place} FROM {TABLE} WHERE name={_name(held.name)}"
    return f"SELECT ({ours}), RELEASE_LOCK({lock(held.name, held.place)})"


def undo(held: Held, place: int) -> str:
    """Free what may have been taken."""
    moved = f"SELECT RELEASE_LOCK({_LOCK}) FROM {TABLE} WHERE name={_name(held.name)}"
    return f"SELECT RELEASE_LOCK({lock(held.name, place)}), ({moved})"


def still(names: Iterable[bytes], session: int) -> str:
    """What the session has of these, and where."""
    listed = ",".join(map(_name, names))
    return f"""
SELECT name, fence, place FROM {TABLE}
WHERE name IN ({listed}) AND CONNECTION_ID()={session} AND session={session} AND {_HELD}"""


def look(name: bytes) -> str:
    """Who has a key."""
    return f"SELECT prefix, lock_key, owner, fence FROM {TABLE} WHERE name={_name(name)} AND {_HELD}"


def page(prefix: str, after: bytes) -> str:
    """Some of those that are taken."""
    return f"""
SELECT name, lock_key, owner, fence FROM {TABLE}
WHERE name > {_name(after)} AND prefix={raw(prefix)} AND {_HELD} ORDER BY name LIMIT {_AT_ONCE}"""


def force(name: bytes) -> str:
    """Move the key to the next place, where nobody is."""
    return f"UPDATE {TABLE} SET place=place+1 WHERE name={_name(name)} AND {_HELD}"


def raw(text: str) -> str:
    """A text as the bytes it is. Any text will do, one with half a surrogate pair in it too."""
    return f"X'{text.encode('utf-8', 'surrogatepass').hex()}'"


def _name(name: bytes) -> str:
    return f"'{name.hex()}'"
