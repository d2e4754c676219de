"""A private MySQL, which takes the place of MariaDB in all tests when MYSQLD in the environment names its program."""

from __future__ import annotations

from tests.servers.mariadb import MariaServer
from tests.servers.programs import MYSQL

#: What MariaDB's options are called here. Root comes from `localhost`: that name has to be looked up.
_OTHERS = {"innodb-log-file-size": "innodb-redo-log-capacity", "skip-name-resolve": None}


class MySqlServer(MariaServer):
    """One server. Its root needs no password."""

    program = MYSQL

    def __init__(self, port: int | None = None, **settings: str) -> None:
        super().__init__(port, **settings)
        named = ((_OTHERS.get(name, name), value) for name, value in self.settings.items())
        self.settings = {name: value for name, value in named if name is not None}

    def installer(self) -> list[str]:
        """One that lets root in without a password."""
        program = self.program.find() or self.program.name
        return [*self._lower, program, "--no-defaults", "--initialize-insecure", f"--datadir={self.data}"]
