"""Mistakes and outages of etcd: one line each, with its mend, and no password in it."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from typing import TYPE_CHECKING, NamedTuple

import pytest

from celery_locks.errors import LockConfigError, StoreUnavailable
from celery_locks.lease import Verdict
from celery_locks.stores import open_store
from celery_locks.stores.etcd import wire
from celery_locks.stores.etcd.member import Member
from celery_locks.stores.etcd.mending import NotNow, refusal
from celery_locks.stores.several import Several
from tests.servers.etcd import EtcdServer
from tests.servers.missing import require
from tests.servers.process import HOST, free_port
from tests.servers.programs import ETCD
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.contract.several import take_all
from tests.stores.contract.watchers import pause, waiting
from tests.stores.etcd_stores import BRIEF, LOCK, opened
from tests.stores.redis_sayings import SECRET, is_one_clean_line, refusal_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.proxy import Proxy

MISTAKES = {
    "etcd://host:0": "'host:0' is no host:port",
    "etcd://one two": "is no host:port",
    "etcd://host:many": "is no host:port",
    "etcd://a,,b": "'' is no host:port",
    "etcd://host/locks": "what keeps locks apart is lock_prefix",
    f"etcd://me:{SECRET}/x@host": "write / ",
    f"etcd://me:{SECRET}@host:many": "write / ",
    "etcd://host?timeout=never": "timeout must be seconds above 0",
    "etcd://host?try_timeout=0": "try_timeout must be seconds above 0",
    "etcd://host?timeout=inf": "timeout must be seconds above 0",
    "etcd://host?timeuot=1": "unknown option timeuot: known are timeout, try_timeout, ca_cert, cert, key",
    "etcd://host?ca_cert=/etc/hosts": "ca_cert is for TLS: begin with etcds://",
    "etcds://host?ca_cert=/nowhere.pem": "there is no file /nowhere.pem",
    "etcds://host?key=/etc/hosts": "a key needs its cert beside it",
}


@pytest.mark.parametrize(("url", "said"), MISTAKES.items())
def test_a_mistake_in_the_url_is_told_before_anything_is_connected(url: str, said: str) -> None:
    """One line says what is wrong and what to write instead."""
    with pytest.raises(LockConfigError, match="write etcd://") as caught:
        open_store(url)
    assert said in str(caught.value)
    is_one_clean_line(caught.value)


def test_what_a_url_may_leave_out() -> None:
    """A port is 2379 and a host localhost; options may come beside the URL; an IPv6 address stands in brackets."""
    for url in ("etcd://", "etcd:///", "etcd://localhost", "etcd://localhost:2379/"):
        with opened(url) as store:
            assert [(member.host, member.port) for member in store._wire.members] == [("localhost", 2379)]
    with contextlib.closing(open_store("etcd://[::1]:99,b", options={"timeout": 9})) as several:
        assert [(each.host, each.port) for each in several._wire.members] == [("::1", 99), ("b", 2379)]
        assert several._wire.address.timeout == 9


def test_nobody_there_is_an_outage_at_once() -> None:
    """A refused connection is not tried again and again."""
    assert "no member runs there: check the servers and the URL" in refusal_of(f"etcd://{HOST}:{free_port()}")


def test_a_server_that_hangs_is_an_outage_in_time(etcd_server: EtcdServer) -> None:
    """The verb's time is the bound."""
    etcd_server.pause()
    assert "hangs, is overloaded or out of reach" in refusal_of(etcd_server.url + BRIEF)


@pytest.mark.parametrize("options", ["", "?timeout=2", "?timeout=1&try_timeout=5", "?timeout=0.3&try_timeout=0.1"])
@pytest.mark.parametrize("answered", [0, 1])
def test_a_verb_takes_no_longer_than_its_timeout(monkeypatch: pytest.MonkeyPatch, options: str, answered: int) -> None:
    """All tries on a cluster that hangs, from the start or in the middle, are as long together as they may be.

    The one that undoes an acquire is among them.
    """
    now = [1000.0]
    answers = iter([(200, b'{"ID": "1"}')] * answered)

    def hanging(_self: Member, _path: str, _payload: bytes, _headers: object, timeout: float) -> tuple[int, bytes]:
        if answer := next(answers, None):
            return answer
        now[0] += timeout
        raise TimeoutError("timed out")

    monkeypatch.setattr(Member, "post", hanging)
    monkeypatch.setattr(wire, "time", FakeTime(lambda: now[0], lambda pause: now.__setitem__(0, now[0] + pause)))
    with opened(f"etcd://a,b,c/{options}") as store:
        with pytest.raises(StoreUnavailable):
            store.acquire(claim("wallet"))
        took = now[0] - 1000
        assert store._wire.address.timeout * 0.9 < took <= store._wire.address.timeout + 1e-6


class FakeTime(NamedTuple):
    """A clock that goes on only while somebody waits."""

    monotonic: Callable[[], float]
    sleep: Callable[[float], None]


def test_an_outage_of_a_beat_is_no_loss(etcd_url: str, etcd_server: EtcdServer) -> None:
    """A beat that has no answer says so; when the server is back the lease is renewed."""
    with opened(etcd_url + BRIEF) as store:
        lease = take(store, "wallet")
        etcd_server.pause()
        with pytest.raises(StoreUnavailable):
            store.renew([lease])
        etcd_server.resume()
        assert verdict(store, lease) is Verdict.RENEWED


def test_tls_that_does_not_fit_is_told(etcd_tls_server: EtcdServer, etcd_url: str) -> None:
    """Too much, too little and the wrong trust each have their advice."""
    too_little, too_much = f"etcd://{HOST}:{etcd_tls_server.port}{BRIEF}", etcd_url.replace("etcd:", "etcds:") + BRIEF
    assert re.search("where it speaks TLS|this server speaks TLS: write etcds://", refusal_of(too_little))
    assert re.search("etcd:// where it does not|does not speak TLS here: write etcd://", refusal_of(too_much))
    assert "certificate is not trusted: add ?ca_cert=" in refusal_of(f"etcds://{HOST}:{etcd_tls_server.port}")


def test_a_lock_over_tls(etcd_tls_server: EtcdServer) -> None:
    """With its certificate trusted the server is spoken to, also by a beat, which connects anew."""
    etcd_tls_server.flush()
    with opened(etcd_tls_server.url) as store:
        lease = take(store, "wallet")
        assert verdict(store, lease) is Verdict.RENEWED
        assert store.release(lease.claim)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nwhat?", "this is no etcd 3.4 or later"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "this is no etcd 3.4 or later"),
        (b"-ERR unknown command 'POST'\r\n", "did not answer"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy", "did not answer"),
    ],
)
def test_a_server_that_is_no_etcd_is_told(answer: bytes, said: str) -> None:
    """Whatever answers there, it is an outage with advice."""
    with _saying(answer) as port:
        assert said in refusal_of(f"etcd://{HOST}:{port}{BRIEF}")


@pytest.fixture(scope="module")
def locked_up() -> Iterator[EtcdServer]:
    """An etcd with users: root, and one who may touch the locks; tokens live for two seconds."""
    require(ETCD)
    with EtcdServer(auth_token_ttl="2") as server:
        for user, password in (("root", SECRET), ("anna", SECRET), ("nobody", SECRET)):
            server.ask("auth/user/add", {"name": user, "password": password})
        server.ask("auth/role/add", {"name": "locks"})
        # From `lock:` to the end of what begins so.
        rights = {"permType": 2, "key": "bG9jazo=", "range_end": "bG9jazs="}
        server.ask("auth/role/grant", {"name": "locks", "perm": rights})
        server.ask("auth/user/grant", {"user": "anna", "role": "locks"})
        server.ask("auth/role/add", {"name": "root"})
        server.ask("auth/user/grant", {"user": "root", "role": "root"})
        server.ask("auth/enable")
        yield server


def _url(server: EtcdServer, login: str) -> str:
    return server.url.replace("//", f"//{login}@")


def test_a_user_with_rights_on_the_prefix_can_lock(locked_up: EtcdServer) -> None:
    """All verbs work with readwrite on the prefix of the locks, and nothing more."""
    with opened(_url(locked_up, f"anna:{SECRET}")) as store:
        lease = take(store, "wallet")
        assert verdict(store, lease) is Verdict.RENEWED
        assert [holding.owner for holding in store.list()] == ["anna"]
        assert store.release(lease.claim)
        take(store, "wallet", "ben")
        assert store.force_release("wallet")
        assert Several(store).release(take_all(store, ("purse", "wallet"), "cleo").claim)


def test_a_login_that_ran_out_is_renewed(locked_up: EtcdServer) -> None:
    """A token that the server forgot is replaced in the middle of a verb, a beat among them."""
    with opened(_url(locked_up, f"anna:{SECRET}")) as store:
        lease = take(store, "purse")
        for renewed in (lambda: verdict(store, lease) is Verdict.RENEWED, lambda: store.release(lease.claim)):
            store._wire.token = "forgotten.1"
            assert renewed()
            assert store._wire.token != "forgotten.1"


@pytest.mark.parametrize("token", ["", "forgotten.1"])
def test_a_user_is_told_of_a_release(locked_up: EtcdServer, token: str) -> None:
    """A watch needs the rights that a lock needs, and a login that ran out is renewed by the look that follows."""
    url = _url(locked_up, f"anna:{SECRET}")
    with opened(url) as store, opened(url) as other:
        lease = take(store, f"chest{token}")
        refused(other, lease.key)
        other._wire.token = token
        with waiting(other, lease.key) as waiter:
            pause(0.5)
            assert waiter.watches <= 2
            assert store.release(lease.claim)
            waiter.done()


@pytest.mark.parametrize(
    ("login", "said"),
    [
        (f"anna:{SECRET}x", "the user or password is wrong"),
        (f"nobody:{SECRET}", "grant its role readwrite on the prefix of the locks"),
    ],
)
def test_a_login_that_does_not_do_is_told(locked_up: EtcdServer, login: str, said: str) -> None:
    """The advice names the mend, and no message has the password."""
    assert said in refusal_of(_url(locked_up, login))


def test_a_login_that_is_missing_or_too_much_is_told(locked_up: EtcdServer, etcd_url: str) -> None:
    """With users the server wants a login, and without users it wants none."""
    assert "wants a login: write etcd://user:password@host" in refusal_of(locked_up.url)
    assert "wants no password: leave it out" in refusal_of(etcd_url.replace("//", f"//me:{SECRET}@"))


def test_a_full_database_gives_no_lock_and_lets_go_of_what_is_held() -> None:
    """Out of its quota, etcd takes no new lock; those that are held are renewed and released."""
    require(ETCD)
    with EtcdServer(quota_backend_bytes="1000000") as server, opened(server.url) as store:
        leases = [take(store, name) for name in ("wallet", "purse")]
        assert store.release(leases[1].claim)
        several = take_all(store, ("a", "b", "c"))
        _fill(server)
        with pytest.raises(StoreUnavailable, match="its database is full: compact and defragment it"):
            store.acquire(claim("new"))
        assert verdict(store, leases[0]) is Verdict.RENEWED
        assert store.release(leases[0].claim)
        assert LOCK not in server.kept()
        assert Several(store).renew([several]) == [Verdict.RENEWED]
        assert Several(store).release(several.claim)
        assert list(store.list()) == []


def _fill(server: EtcdServer) -> None:
    def is_full() -> bool:
        try:
            server.ask("kv/put", {"key": "YmFsbGFzdA==", "value": "AAAA" * 50_000})
        except Exception as error:  # noqa: BLE001 - it is looked at
            return "database space exceeded" in str(error)
        return False

    wait_until(is_full, "the database to be full")


@contextlib.contextmanager
def _saying(answer: bytes) -> Iterator[int]:
    """A server that gives one answer to whatever it is asked."""
    with socket.create_server((HOST, free_port())) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    asking, _ = listener.accept()
                    with asking:
                        asking.recv(65536)
                        asking.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (2, "raft proposal dropped"),
        (14, "etcdserver: request timed out, possibly due to previous leader failure"),
        (8, "etcdserver: too many requests"),
        (14, "whatever it is that passes"),
    ],
)
def test_what_passes_is_no_refusal(code: int, words: str) -> None:
    """What a member says in an election, or when it has too much to do, is a reason to ask again."""
    assert isinstance(refusal(code, words), NotNow)
    assert not isinstance(refusal(7, "etcdserver: permission denied"), NotNow)


def test_a_connection_that_is_reset_each_time_is_an_outage(proxy: Callable[[str], Proxy], etcd_url: str) -> None:
    """The verb ends with its time, and says that it does not know."""
    way = proxy(etcd_url)
    for _ in range(200):
        way.cut_answer(b"/v3/")
    assert "did not answer" in refusal_of(way.url + BRIEF)
