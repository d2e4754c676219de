"""A private PgBouncer in front of a Postgres."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psycopg

from tests.servers.accounts import lower
from tests.servers.process import HOST, PrivateServer
from tests.servers.programs import PGBOUNCER

if TYPE_CHECKING:
    from tests.servers.postgres import PostgresServer

_INI = """
[databases]
* = host={host} port={postgres}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {directory}/users
pool_mode = {mode}
{settings}
"""


class PgBouncerServer(PrivateServer):
    """One pooler. Any setting of its section may be given: max_client_conn="9"."""

    program = PGBOUNCER

    def __init__(self, postgres: PostgresServer, mode: str, port: int | None = None, **settings: str) -> None:
        super().__init__(port)
        self._lower = lower("postgres", self.directory)
        (self.directory / "users").write_text('"postgres" ""\n')
        lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
        facts = {"host": HOST, "postgres": postgres.port, "port": self.port, "directory": self.directory, "mode": mode}
        (self.directory / "pgbouncer.ini").write_text(_INI.format(**facts, settings=lines))

    def command(self) -> list[str]:
        """The pooler with its own file of settings."""
        return [*self._lower, self.program.find() or self.program.name, str(self.directory / "pgbouncer.ini")]

    def url(self, database: str = "postgres") -> str:
        """The address of a database, through the pooler."""
        return f"postgresql://postgres@{HOST}:{self.port}/{database}"

    def answers(self) -> bool:
        """It passes a question on and its answer back."""
        with (
            contextlib.suppress(psycopg.Error),
            psycopg.connect(self.url(), autocommit=True, connect_timeout=5) as connection,
        ):
            return connection.execute("SELECT 1").fetchone() == (1,)
        return False
