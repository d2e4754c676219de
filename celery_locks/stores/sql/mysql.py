"""What MariaDB and MySQL say their own way."""

from __future__ import annotations

from celery_locks.stores.sql.statements import HOUR, SEVERAL, Tongue, rows

# SYSDATE is read when it is asked for; NOW stands still while a statement waits for a row. Both follow the session's
# time zone, which the greeting sets: elsewhere an hour may come twice.
_EPOCH = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {moment})"
_MINE = "(holder = :holder AND expires_at > {now})"
_GRANTED = f"({{now}} <= :latest AND ({_MINE} OR (expires_at <= {{now}} AND done NOT LIKE :marked)))"

# Assignments happen from left to right, and each sees those before it. The first notes what is decided, in a column
# that the last one sets right: were it decided again further on, the clock might have changed the answer.
# LAST_INSERT_ID brings the fence to the client in the same answer, and 0 when the key is taken.
_ACQUIRE = """
INSERT INTO {table} (digest, prefix, name, fence, owner, holder, expires_at, expires_hour, done)
VALUES (:digest, :prefix, :name, LAST_INSERT_ID(IF({now} > :latest, 0, {now})), IF(fence = 0, NULL, :owner),
  IF(fence = 0, NULL, :holder), {now} + IF(fence = 0, 0, :ttl), expires_at DIV {HOUR}, '')
ON DUPLICATE KEY UPDATE
  expires_hour = CASE WHEN {now} > :latest THEN 0
    WHEN holder = :holder AND expires_at > {now} THEN 1
    WHEN expires_at <= {now} AND done NOT LIKE :marked THEN 2 ELSE 0 END,
  fence = CASE expires_hour WHEN 0 THEN fence + LAST_INSERT_ID(0)
    WHEN 1 THEN LAST_INSERT_ID(fence) ELSE LAST_INSERT_ID(GREATEST(fence + 1, {now})) END,
  owner = IF(expires_hour = 0, owner, :owner),
  holder = IF(expires_hour = 0, holder, :holder),
  expires_at = IF(expires_hour = 0, expires_at, {now} + :ttl),
  expires_hour = expires_at DIV {HOUR}
"""
_GIVE_UP = """
INSERT INTO {table} (digest, prefix, name, owner, holder, fence, expires_at, expires_hour, done)
VALUES (:digest, :prefix, :name, NULL, NULL, 0, {now}, {hour}, :holder)
ON DUPLICATE KEY UPDATE
  done = IF(done LIKE :marked, done, substr({joined}, 1, {longest})),
  owner = IF(holder = :holder, NULL, owner),
  expires_at = IF(holder = :holder, {now}, expires_at),
  holder = IF(holder = :holder, NULL, holder)
"""
_ENSURE = """
INSERT IGNORE INTO {table} (digest, prefix, name, owner, holder, fence, expires_at, expires_hour, done)
VALUES (:digest, :prefix, :name, NULL, NULL, 0, {now}, {hour}, '')
"""


def _renew(count: int) -> str:
    exact = "CONVERT(:{name}_{{number}} USING ascii) COLLATE ascii_bin AS {name}"
    row = f"SELECT {exact.format(name='digest')}, {exact.format(name='holder')}, :ttl_{{number}} AS ttl"
    return (
        f"UPDATE {{table}} AS held JOIN ({rows(count, row, ' UNION ALL ')}) AS asked "
        "ON held.digest = asked.digest AND held.holder = asked.holder "
        "SET held.expires_at = {now} + asked.ttl, held.expires_hour = ({now} + asked.ttl) DIV {HOUR} "
        "WHERE held.expires_at > {now}"
    )


def _renewed(count: int) -> str:
    names = rows(count, ":digest_{number}", ", ")
    return f"SELECT digest, holder FROM {{table}} WHERE digest IN ({names}) AND expires_at > {{now}}"


def _swap_all(count: int) -> str:
    row = (
        "SELECT CONVERT(:digest_{number} USING ascii) COLLATE ascii_bin AS digest, "
        "CONVERT(:owner_{number} USING utf8mb4) COLLATE utf8mb4_bin AS owner, "
        ":seen_{number} AS seen, :until_{number} AS until_"
    )
    return (
        f"UPDATE {{table}} AS held JOIN ({rows(count, row, ' UNION ALL ')}) AS asked "
        f"ON held.digest = asked.digest AND held.fence = asked.seen AND held.holder = '{SEVERAL}' "
        "SET held.owner = asked.owner, held.fence = asked.seen + 1, held.expires_at = asked.until_, "
        f"held.expires_hour = asked.until_ DIV {HOUR}"
    )


MYSQL = Tongue(
    now=_EPOCH.format(moment="SYSDATE(6)"),
    # An index is looked up only for what stands still.
    stable_now=_EPOCH.format(moment="NOW(6)"),
    acquire=_ACQUIRE,
    give_up=_GIVE_UP,
    purge="DELETE FROM {table} WHERE {over} ORDER BY expires_hour LIMIT :page",
    renew=_renew,
    renewed=_renewed,
    ensure=_ENSURE,
    swap_all=_swap_all,
    begin="""
INSERT IGNORE INTO {conflicts} (digest, prefix, name, conflicts, waited, held, latest, seen_at)
VALUES (:digest, :prefix, :name, :conflicts, 0, 0, '', {now})
""",
    told="CONCAT({now}, ' ', COALESCE({age}, ''), :said, latest)",
    joined="CONCAT(:holder, done)",
    noted="CONCAT(:noted, done)",
    over="DIV",
    greeting=(
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES', innodb_lock_wait_timeout = 1",
    ),
)
