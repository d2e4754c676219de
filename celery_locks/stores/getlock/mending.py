"""What to do about an error of MySQL or MariaDB, in words."""

from __future__ import annotations

from celery_locks.stores.getlock.statements import TABLE

#: A sign in the error's text, and what it asks for. The first that is found counts.
ADVICE = {
    "shares sessions": "name the server itself",
    "NULL": "the server is out of memory, or was told to end this request: see its log, and try again",
    "Access denied for user": "the user or password is wrong, or the database not this user's: write"
    " mysql+getlock://user:password@host/database",
    "command denied": f"let this user create, read and write {TABLE}, or create it (docs/stores/getlock.md)",
    "Unknown database": "create the database, or name another in the URL",
    "doesn't exist": f"leave the table {TABLE} in place: it is made when a process connects",
    "Unknown column": f"{TABLE} is something else, or older: drop it while nobody holds a lock, and it is made anew",
    "read-only": "this server is a read-only replica: name the primary",
    "read only": "this server is a read-only replica: name the primary",
    "Too many connections": "the server has no connection left: raise its max_connections",
    "max_user_connections": "this user has no connection left: raise its max_user_connections",
    "is full": "free the server's disk",
    "cryptography": "pip install cryptography, or use TLS (ssl_ca in the URL)",
    "certificate": "its certificate is not trusted: add ?ssl_ca=/path/ca.pem",
    "SSL": "check the ssl_ options in the URL: the server and the URL must agree on TLS",
    "inactivity": "this process did not run for too long: raise ?idle_timeout=30",
    "Lost connection": "check that the server runs; it also ends sessions that were killed or idle",
    "no answer within": "it hangs, is overloaded or out of reach; the time allowed is by default ?timeout=2",
    "timed out": "it hangs, is overloaded or out of reach; the time allowed is by default ?connect_timeout=2",
}
