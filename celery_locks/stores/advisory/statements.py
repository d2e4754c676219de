"""What is said to Postgres. Each verb is one statement, prepared when a session begins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TABLE = "celery_locks_sessions"
SEQUENCE = "celery_locks_fences"
#: A key's, with its number behind.
CHANNEL = "celery_locks_"

# Not logged, so that it costs a commit no flush: after a crash nobody holds a lock, and Postgres empties it. The
# sequence is logged, and after a crash goes on ahead of where it was.
CREATE = f"""
SELECT pg_advisory_xact_lock(7239518302650471);
CREATE SEQUENCE IF NOT EXISTS {SEQUENCE} CACHE 1;
CREATE UNLOGGED TABLE IF NOT EXISTS {TABLE} (
    name bigint PRIMARY KEY, place bigint NOT NULL, prefix bytea NOT NULL, key bytea NOT NULL, owner bytea NOT NULL,
    fence bigint NOT NULL, pid integer NOT NULL, waited boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
"""

# The number of an advisory lock is shown in two halves.
_LOCKED = """SELECT FROM pg_locks AS l WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (l.classid::bigint << 32 | l.objid::bigint) = """
_HELD = f"EXISTS ({_LOCKED} t.place AND l.pid = t.pid)"

_TELL = f"pg_notify('{CHANNEL}' || $1, '')"

# The fence is drawn after the lock is granted: only then is there a row to insert. A key that was forced from its
# holder has moved to another place; one that moves while we take its old place gives no fence.
_TAKE = f"""
WITH now AS MATERIALIZED (
    SELECT coalesce((SELECT place FROM {TABLE} WHERE name = $1), $1) AS place
), got AS MATERIALIZED (
    SELECT place, CASE WHEN pg_backend_pid() = $5 THEN pg_try_advisory_lock(place) END AS ours FROM now
), put AS (
    INSERT INTO {TABLE} AS t (name, place, prefix, key, owner, fence, pid)
    SELECT $1, place, $2, $3, $4, nextval('{SEQUENCE}'), $5 FROM got WHERE ours
    ON CONFLICT (name) DO UPDATE SET prefix = excluded.prefix, key = excluded.key, owner = excluded.owner,
        fence = excluded.fence, pid = excluded.pid WHERE t.place = excluded.place
    RETURNING fence
)
SELECT ours, place, (SELECT fence FROM put), (SELECT owner FROM {TABLE} WHERE name = $1) FROM got"""

# The row of a key that was moved stays: without it the key would move back to where its former holder still is.
# Whoever waits has said so in the row: a release that nobody waits for tells nobody.
_GIVE_BACK = f"""
WITH gone AS (DELETE FROM {TABLE} WHERE name = $1 AND fence = $2 AND place = $3 AND place = name RETURNING waited)
SELECT pg_advisory_unlock($3), EXISTS (SELECT FROM {TABLE} WHERE name = $1 AND fence = $2 AND place = $3),
    CASE WHEN $1 <> $3 OR (SELECT waited FROM gone) THEN {_TELL} END"""

# What is not ours is not unlocked, or the server would log a warning. The row stays until a sweep: it names a lock that
# nobody has, and writing might be what has just failed.
_UNDO = f"""
WITH places AS (SELECT $1 AS place UNION SELECT $2 UNION SELECT place FROM {TABLE} WHERE name = $1)
SELECT pg_advisory_unlock(place) FROM places WHERE EXISTS ({_LOCKED} places.place AND l.pid = pg_backend_pid())"""

_STILL = f"SELECT name, fence, place FROM {TABLE} WHERE name = ANY ($1) AND pid = $2 AND pid = pg_backend_pid()"
_LOOK = f"SELECT prefix, key, owner, fence FROM {TABLE} AS t WHERE name = $1 AND {_HELD}"
_PAGE = f"""
SELECT name, key, owner, fence FROM {TABLE} AS t WHERE prefix = $1 AND name > $2 AND {_HELD} ORDER BY name LIMIT 500"""
_FORCE = f"""
WITH forced AS (UPDATE {TABLE} AS t SET place = $2 WHERE name = $1 AND place <> $2 AND {_HELD} RETURNING true)
SELECT {_TELL} FROM forced"""

# Whether the key is taken by one who will tell of its release, and whether by anyone. A release at the same moment is
# either seen here, for it takes the row away, or sees the mark.
_WAIT = f"""
WITH marked AS (UPDATE {TABLE} AS t SET waited = true WHERE name = $1 AND NOT waited AND {_HELD} RETURNING true)
SELECT EXISTS (SELECT FROM marked) OR EXISTS (SELECT FROM {TABLE} AS t WHERE name = $1 AND waited AND {_HELD}),
    EXISTS ({_LOCKED} coalesce((SELECT place FROM {TABLE} WHERE name = $1), $1))"""

# Rows of holders that died. One whose key was moved stays while anybody is at its old place or its new one.
_SWEEP = f"""
DELETE FROM {TABLE} AS t USING (
    SELECT s.name, s.fence FROM {TABLE} AS s
    WHERE NOT EXISTS ({_LOCKED} s.place) AND NOT EXISTS ({_LOCKED} s.name) FOR UPDATE SKIP LOCKED
) AS dead WHERE t.name = dead.name AND t.fence = dead.fence"""

PREPARED = {
    "take": ("bigint, bytea, bytea, bytea, integer", _TAKE),
    "give_back": ("bigint, bigint, bigint", _GIVE_BACK),
    "undo": ("bigint, bigint", _UNDO),
    "still": ("bigint[], integer", _STILL),
    "look": ("bigint", _LOOK),
    "page": ("bytea, bigint", _PAGE),
    "force": ("bigint, bigint", _FORCE),
    "wait": ("bigint", _WAIT),
    "ping": ("", "SELECT pg_backend_pid()"),
}


def begin(idle_timeout: float) -> str:
    """How a session begins: its settings, a sweep, and what it will say from now on."""
    prepared = (
        f"PREPARE celery_locks_{name}{f' ({types})' if types else ''} AS {text}"
        for name, (types, text) in PREPARED.items()
    )
    return ";\n".join((*_settings(idle_timeout), _SWEEP, *prepared))


def listen(names: Iterable[int]) -> str:
    """Be told of these keys and of no others. What was listened to before and still is misses nothing."""
    return "; ".join(("UNLISTEN *", *(f'LISTEN "{CHANNEL}{name}"' for name in names)))


def _settings(idle_timeout: float) -> list[str]:
    ms, apart = math.ceil(idle_timeout * 1000), max(1, math.floor(idle_timeout / 4))
    values = {
        # A holder that is frozen, and one that is cut off while nothing is on its way to it.
        "idle_session_timeout": ms,
        # One that is cut off while something is.
        "tcp_user_timeout": ms,
        "tcp_keepalives_idle": apart,
        "tcp_keepalives_interval": apart,
        "tcp_keepalives_count": 3,
        # Each statement is prepared once, and never planned again.
        "plan_cache_mode": "force_generic_plan",
        # Rows are held against pg_locks by a table of hashes, or many locks would be compared with each other.
        "enable_nestloop": "off",
        "default_transaction_isolation": "'read committed'",
        "client_min_messages": "error",
    }
    keep = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    return [*(f"SET {name} = {value}" for name, value in values.items()), keep]
