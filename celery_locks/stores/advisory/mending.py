"""What to do about an error of Postgres, in words."""

from __future__ import annotations

from celery_locks.stores.advisory.statements import SEQUENCE, TABLE

#: A sign in the error's text, and what it asks for. The first that is found counts.
ADVICE = {
    "shares sessions": "name Postgres itself, or a pool with pool_mode=session",
    "prepared statement": "a pooler shares sessions: name Postgres itself, or a pool with pool_mode=session",
    "password authentication failed": "the user or password is wrong: write postgresql+advisory://user:password@host",
    "no password supplied": "write a password: postgresql+advisory://user:password@host",
    "no pg_hba.conf entry": "the server lets nobody in from here: add a line to its pg_hba.conf",
    "permission denied": f"let this user create {TABLE} and {SEQUENCE}, or create them (docs/stores/advisory.md)",
    "no schema has been selected": "name a schema that is there: ?options=-csearch_path%3Dmy_schema",
    "read-only transaction": "this is a read-only replica: name the primary, or ?target_session_attrs=read-write",
    "recovery": "this server is a replica, or still starting: name the primary, or wait",
    "remaining connection slots": "the server has no connection left: raise its max_connections",
    "too many clients": "the server has no connection left: raise its max_connections",
    "too many connections": "the server has no connection left: raise its max_connections",
    "no more connections allowed": "the pooler has no connection left: raise its max_client_conn",
    "out of shared memory": "the server has no room for more locks: raise its max_locks_per_transaction",
    "does not exist": "check the URL: create the database and the user, and leave the locks' table in place",
    "idle-session timeout": "this process did not run for too long: raise ?idle_timeout=30",
    "terminating connection": "the session was ended by the server: try again",
    "No space left": "free the server's disk",
    "certificate": "its certificate is not trusted: add ?sslrootcert=/path/ca.pem",
    "SSL": "check sslmode in the URL: the server and the URL must agree on TLS",
    "no answer within": "it hangs, is overloaded or out of reach; the time allowed is by default ?timeout=2",
    "timeout expired": "it hangs, is overloaded or out of reach; the time allowed is by default ?connect_timeout=2",
}
