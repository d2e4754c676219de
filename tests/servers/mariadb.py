"""A private MariaDB, with a database for each test."""

from __future__ import annotations

from typing import Any

import pymysql

from tests.servers.accounts import lower
from tests.servers.databases import DatabaseServer
from tests.servers.process import HOST
from tests.servers.programs import MARIADB, MARIADB_INSTALL

# A kill loses nothing that the operating system has, so the disk need not be waited for.
_SETTINGS = {
    "innodb-flush-log-at-trx-commit": "2",
    "innodb-buffer-pool-size": "32M",
    "innodb-log-file-size": "16M",
    "max-connections": "300",
    "skip-name-resolve": "1",
}


class MariaServer(DatabaseServer):
    """One server. Any option may be given: `MariaServer(wait_timeout="3")`. Its root needs no password."""

    program = MARIADB
    failures = (pymysql.Error, OSError)
    making = " CHARACTER SET utf8mb4"

    def __init__(self, port: int | None = None, **settings: str) -> None:
        super().__init__(port)
        here = self.directory
        ours = {"datadir": str(self.data), "socket": str(here / "maria.sock"), "pid-file": str(here / "maria.pid")}
        ours |= {"port": str(self.port), "bind-address": HOST, "tmpdir": str(here)}
        self.settings = ours | _SETTINGS | {name.replace("_", "-"): value for name, value in settings.items()}
        self._lower = lower("mysql", here)

    def command(self) -> list[str]:
        """The server with every option on its command line, and no file of options read."""
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        return [*self._lower, self.program.find() or self.program.name, "--no-defaults", *options]

    def installer(self) -> list[str]:
        """One that lets root in without a password."""
        how = [f"--datadir={self.data}", "--auth-root-authentication-method=normal", "--skip-test-db"]
        return [*self._lower, MARIADB_INSTALL.find() or MARIADB_INSTALL.name, "--no-defaults", *how]

    def url(self, database: str = "mysql") -> str:
        """The address of a database."""
        return f"mysql://root@{HOST}:{self.port}/{database}"

    def ask(self, statement: str, database: str = "mysql") -> list[Any]:
        """The rows that one statement gives, committed by itself."""
        login: dict[str, Any] = {"host": HOST, "port": self.port, "user": "root", "database": database}
        # Without ssl_disabled it reads all certificates of the machine each time: 20 ms.
        connection = pymysql.connect(**login, autocommit=True, connect_timeout=5, read_timeout=30, ssl_disabled=True)
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())
