"""A private MySQL, which takes the place of MariaDB in all tests when MYSQLD in the environment names its program."""

from __future__ import annotations

import pytest

from tests.servers.mariadb import MariaServer
from tests.servers.programs import MYSQL

#: What MariaDB's options are called here. Root comes from `localhost`: that name has to be looked up.
_OTHERS = {"innodb-log-file-size": "innodb-redo-log-capacity", "skip-name-resolve": None}
#: As with MariaDB: what is on the wire can be read, and a plan is a table.
_AS_MARIADB = {"tls-version": "", "explain-format": "TRADITIONAL"}

#: With a guard or without: "You can't specify target table for update in FROM clause".
READS_WHAT_IT_WRITES = pytest.mark.skipif(bool(MYSQL.home), reason="MySQL updates no table that a subquery reads")


class MySqlServer(MariaServer):
    """One server. Its root needs no password."""

    program = MYSQL

    def __init__(self, port: int | None = None, **settings: str) -> None:
        super().__init__(port, **settings)
        named = ((_OTHERS.get(name, name), value) for name, value in self.settings.items())
        self.settings = _AS_MARIADB | {name: value for name, value in named if name is not None}

    def installer(self) -> list[str]:
        """One that lets root in without a password."""
        program = self.program.find() or self.program.name
        return [*self._lower, program, "--no-defaults", "--initialize-insecure", f"--datadir={self.data}"]
