"""A private Redis or Valkey server."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.process import HOST, PrivateServer
from tests.servers.programs import REDIS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.programs import Program

# Also strict checkers (Python 3.13) accept this certificate: they want the key's use and the issuer named.
_CERTIFICATE = """
[req]
distinguished_name = name
x509_extensions = self_signed
prompt = no
[name]
CN = localhost
[self_signed]
subjectAltName = IP:127.0.0.1,DNS:localhost
basicConstraints = critical,CA:TRUE
keyUsage = critical,digitalSignature,keyCertSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
"""


def self_signed(directory: Path) -> tuple[Path, Path]:
    """A new certificate for this machine, and its key."""
    wanted, certificate, key = (directory / name for name in ("request.cnf", "cert.pem", "key.pem"))
    wanted.write_text(_CERTIFICATE)
    make = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-newkey", "rsa:2048"]
    files = ["-config", str(wanted), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make, *files], check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return certificate, key


class RedisServer(PrivateServer):
    """One server. Any directive of redis.conf may be given: `RedisServer(appendonly="yes", maxmemory="2mb")`.

    It keeps nothing over a kill unless asked to.
    """

    program = REDIS

    def __init__(
        self,
        program: Program = REDIS,
        *,
        password: str | None = None,
        tls: bool = False,
        replica_of: RedisServer | None = None,
        port: int | None = None,
        **config: str,
    ) -> None:
        super().__init__(port)
        self.program = program  # type: ignore[misc] # one class runs both Redis and Valkey
        self.password = password
        self.tls = tls
        self.config = {"bind": HOST, "dir": str(self.directory), "save": "", "unixsocket": str(self.socket)}
        self.config |= {"protected-mode": "no", "repl-diskless-sync-delay": "0"}
        self.config |= self._port_config() | self._replica_config(replica_of)
        if password:
            self.config |= {"requirepass": password, "masterauth": password}
        self.config |= {name.replace("_", "-"): value for name, value in config.items()}

    def _port_config(self) -> dict[str, str]:
        if not self.tls:
            return {"port": str(self.port)}
        self.certificate, key = self_signed(self.directory)
        files = {"tls-cert-file": self.certificate, "tls-key-file": key, "tls-ca-cert-file": self.certificate}
        ports = {"port": "0", "tls-port": str(self.port), "tls-auth-clients": "no"}
        return ports | {name: str(path) for name, path in files.items()}

    @staticmethod
    def _replica_config(master: RedisServer | None) -> dict[str, str]:
        return {"replicaof": f"{HOST} {master.port}"} if master else {}

    @property
    def socket(self) -> Path:
        """Its unix socket."""
        return self.directory / "redis.sock"

    @property
    def url(self) -> str:
        """Its database 0, over TCP or TLS."""
        scheme, query = ("rediss", f"?{urlencode({'ssl_ca_certs': self.certificate})}") if self.tls else ("redis", "")
        return f"{scheme}://{self._credentials}{HOST}:{self.port}/0{query}"

    @property
    def unix_url(self) -> str:
        """Its database 0, over the unix socket."""
        return f"unix://{self._credentials}{self.socket}?db=0"

    @property
    def _credentials(self) -> str:
        return f":{self.password}@" if self.password else ""

    def command(self) -> list[str]:
        """The server with every directive on its command line."""
        directives = (word for name, value in self.config.items() for word in (f"--{name}", *self._words(value)))
        return [self.program.find() or self.program.name, *directives]

    @staticmethod
    def _words(value: str) -> list[str]:
        return value.split() or [""]

    @contextlib.contextmanager
    def client(self, **options: Any) -> Iterator[Any]:
        """A client of this server that never tries again by itself, closed at the end."""
        settings = {"socket_timeout": 2, "decode_responses": True, "retry": Retry(NoBackoff(), 0), **options}
        connection = redis.Redis.from_url(self.url, **settings)
        with contextlib.closing(connection):
            yield connection

    def ask(self, *words: str | int) -> Any:
        """The answer to one command."""
        with self.client() as client:
            return client.execute_command(*words)

    def answers(self) -> bool:
        """PING is answered, and a replica is in sync."""
        with contextlib.suppress(redis.RedisError, OSError), self.client() as client:
            return bool(client.ping()) and client.info("replication").get("master_link_status", "up") == "up"
        return False

    def flush(self) -> None:
        """Forget every key."""
        self.ask("FLUSHALL")
