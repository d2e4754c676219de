"""What Postgres and SQLite say alike, and each its own way: INSERT ... ON CONFLICT, RETURNING."""

from __future__ import annotations

from celery_locks.stores.sql.statements import HOUR, SEVERAL, Tongue, rows

_POSTGRES_NOW = "CAST(date_part('epoch', {moment}) * 1000000 AS BIGINT)"
_SQLITE_NOW = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"

# A late request takes nothing: whoever sent it has given up by now. While a row is waited for time goes on, so it is
# read again then ({then}); SQLite waits before it reads the time at all.
_TAKE = """
INSERT INTO {table} AS held (digest, prefix, name, owner, holder, fence, expires_at, expires_hour, done)
SELECT :digest, :prefix, :name, :owner, :holder, moment.now, moment.now + :ttl, (moment.now + :ttl) / {HOUR}, ''
FROM (SELECT {now} AS now) AS moment WHERE moment.now <= :latest{unless}
ON CONFLICT (digest) DO UPDATE SET
  owner = excluded.owner,
  holder = excluded.holder,
  fence = CASE WHEN held.holder = excluded.holder AND held.expires_at > {then} THEN held.fence
    WHEN held.fence >= excluded.fence THEN held.fence + 1 ELSE excluded.fence END,
  expires_at = {then} + :ttl,
  expires_hour = excluded.expires_hour
WHERE {then} <= :latest AND (held.holder = excluded.holder AND held.expires_at > {then}
  OR held.expires_at <= {then} AND held.done NOT LIKE :marked)
RETURNING fence
"""
# One round trip also for a claim that is refused, and no lock on the row of a key that is seen to be taken.
_POSTGRES_ACQUIRE = (
    "WITH seen AS (SELECT owner, holder, fence, expires_at, {now} AS now FROM {table} WHERE digest = :digest),\n"
    "taken AS ("
    + _TAKE.replace("{then}", "{now}").replace(
        "{unless}", " AND NOT EXISTS (SELECT 1 FROM seen WHERE expires_at > seen.now AND holder <> :holder)"
    )
    + """)
SELECT fence, NULL AS now, NULL AS owner, NULL AS theirs, NULL AS expires_at FROM taken
UNION ALL
SELECT NULL, now, owner, fence, expires_at FROM seen WHERE expires_at > now AND holder <> :holder
  AND NOT EXISTS (SELECT 1 FROM taken)
"""
)
_GIVE_UP = """
INSERT INTO {table} AS held (digest, prefix, name, owner, holder, fence, expires_at, expires_hour, done)
VALUES (:digest, :prefix, :name, NULL, NULL, 0, {now}, {hour}, :holder)
ON CONFLICT (digest) DO UPDATE SET
  done = CASE WHEN held.done LIKE :marked THEN held.done ELSE substr(:holder || held.done, 1, {longest}) END,
  owner = CASE WHEN held.holder = :holder THEN NULL ELSE held.owner END,
  expires_at = CASE WHEN held.holder = :holder THEN {now} ELSE held.expires_at END,
  holder = CASE WHEN held.holder = :holder THEN NULL ELSE held.holder END
"""
_ENSURE = """
INSERT INTO {table} (digest, prefix, name, owner, holder, fence, expires_at, expires_hour, done)
VALUES (:digest, :prefix, :name, NULL, NULL, 0, {now}, {hour}, '')
ON CONFLICT (digest) DO NOTHING
"""
_PURGE = "DELETE FROM {table} WHERE digest IN (SELECT digest FROM {table} WHERE {over} LIMIT :page{aside}) AND {over}"


def _renew(count: int) -> str:
    asked = rows(count, "(:digest_{number}, :holder_{number}, CAST(:ttl_{number} AS BIGINT))", ", ")
    return (
        f"WITH asked (digest, holder, ttl) AS (VALUES {asked}) "
        f"UPDATE {{table}} SET expires_at = {{now}} + asked.ttl, expires_hour = ({{now}} + asked.ttl) / {HOUR} "
        "FROM asked "
        "WHERE {table}.digest = asked.digest AND {table}.holder = asked.holder AND {table}.expires_at > {now} "
        "RETURNING {table}.digest, {table}.holder"
    )


def _swap_all(count: int) -> str:
    asked = rows(
        count,
        "(:digest_{number}, :owner_{number}, CAST(:seen_{number} AS BIGINT), CAST(:until_{number} AS BIGINT))",
        ", ",
    )
    return (
        f"WITH asked (digest, owner, seen, until) AS (VALUES {asked}) "
        "UPDATE {table} SET owner = asked.owner, fence = asked.seen + 1, expires_at = asked.until, "
        f"expires_hour = asked.until / {HOUR} FROM asked "
        f"WHERE {{table}}.digest = asked.digest AND {{table}}.fence = asked.seen AND {{table}}.holder = '{SEVERAL}' "
        "RETURNING {table}.digest"
    )


POSTGRES = Tongue(
    now=_POSTGRES_NOW.format(moment="clock_timestamp()"),
    # An index is looked up only for what stands still.
    stable_now=_POSTGRES_NOW.format(moment="statement_timestamp()"),
    acquire=_POSTGRES_ACQUIRE,
    give_up=_GIVE_UP,
    purge=_PURGE.replace("{aside}", " FOR UPDATE SKIP LOCKED"),
    renew=_renew,
    ensure=_ENSURE,
    swap_all=_swap_all,
)
SQLITE = Tongue(
    now=_SQLITE_NOW,
    stable_now=_SQLITE_NOW,
    acquire=_TAKE.replace("{then}", "excluded.fence").replace("{unless}", ""),
    give_up=_GIVE_UP,
    purge=_PURGE.replace("{aside}", ""),
    renew=_renew,
    ensure=_ENSURE,
    swap_all=_swap_all,
)
