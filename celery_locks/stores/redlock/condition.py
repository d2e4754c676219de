"""How the nodes describe themselves, each asked over a connection of its own."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import redis
from redis.exceptions import RedisError

from celery_locks.stores.operations import Served, Server
from celery_locks.stores.redis.condition import described, strangers
from celery_locks.stores.redis.connect import never
from celery_locks.stores.redis.mending import outage
from celery_locks.stores.redis.wire import Pooled

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from celery_locks.stores.redlock.address import Address, Place


class RedlockCondition(Served):
    """The part of the store that only a doctor asks for."""

    _address: Address
    prefix: str

    def servers(self) -> list[Server]:
        return [self._asked(place, described) for place in self._address.places]

    def strangers(self, most: int) -> list[str]:
        found = [self._asked(place, lambda node: strangers(node, self.prefix, most)) for place in self._address.places]
        return [name for names in found if not isinstance(names, Server) for name in names]

    def _asked(self, place: Place, ask: Callable[[Pooled], Any]) -> Any:
        """Its answer; or what is wrong with it, as a server that says nothing."""
        try:
            with contextlib.closing(_node(place, self._address.seconds["socket_timeout"])) as node:
                return ask(node)
        except (RedisError, OSError) as error:
            return Server(str(place), {}, trouble=outage(str(place), error).message)


_Plain: Any = redis.Connection


class _Tls(_Plain):  # type: ignore[misc]  # redis-py leaves parts of it without types
    """With the context that the store's own connections have."""

    def __init__(self, *, tls: ssl.SSLContext, **settings: Any) -> None:
        super().__init__(**settings)
        self._tls = tls

    def _connect(self) -> Any:
        return self._tls.wrap_socket(super()._connect(), server_hostname=self.host)


def _node(place: Place, timeout: float) -> Pooled:
    kind: Any = functools.partial(_Tls, tls=place.tls) if place.tls else redis.Connection
    settings: dict[str, Any] = {"host": place.host, "port": place.port, "db": place.database, "retry": never()}
    settings |= {"socket_timeout": timeout, "socket_connect_timeout": timeout, "protocol": 2}
    settings |= zip(("password", "username"), reversed(place.login), strict=False)
    return Pooled(redis.ConnectionPool(connection_class=kind, **settings))
