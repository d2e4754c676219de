"""The URL of the ZooKeeper store: chroot, login, ACL, and what is wrong with it."""

from __future__ import annotations

import pytest
from kazoo.exceptions import NoAuthError
from kazoo.security import CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, make_digest_acl

from celery_locks.errors import LockConfigError, StoreUnavailable
from celery_locks.lease import Verdict
from celery_locks.stores import open_store
from celery_locks.stores.zookeeper.address import parse
from tests.servers.missing import require
from tests.servers.programs import JAVA, OPENSSL, ZOOKEEPER
from tests.servers.zookeeper import SecureZooKeeperServer
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.zookeeper_stores import bare, chroot, is_free, opened

LOGIN = "bank:p%40ss%2Fword"


def with_login(url: str, login: str = LOGIN) -> str:
    return url.replace("://", f"://{login}@")


def test_the_chroot_keeps_applications_apart(zookeeper_url: str) -> None:
    """The chroot, of any depth, is made when it is missing; the same key below another one is another lock."""
    deeper = zookeeper_url.replace("?", "/deep/er?")
    with opened(zookeeper_url) as first, opened(deeper) as second:
        take(first, "wallet")
        take(second, "wallet", "ben")
        assert [holding.owner for holding in first.list()] == ["anna"]
    with bare(zookeeper_url) as client:
        assert client.exists(f"{chroot(zookeeper_url)}/deep/er/lock:,locks")


def test_without_a_chroot_it_is_the_root(zookeeper_url: str) -> None:
    """A URL that ends with its hosts puts the folders of its prefix into the root."""
    hosts = zookeeper_url.removeprefix("zookeeper://").partition("/")[0]
    with opened(f"zookeeper://{hosts}", prefix="root:") as store, bare(zookeeper_url) as client:
        take(store, "wallet")
        assert client.get_children("/root:,locks") == ["wallet"]
        store.close()
        client.delete("/root:,locks")
        client.delete("/root:,owners")


def test_with_a_login_the_nodes_are_its_own(zookeeper_url: str) -> None:
    """Whoever has another login, or none, can neither see, take, release nor force its locks; and is told why."""
    with opened(with_login(zookeeper_url)) as store, opened(with_login(zookeeper_url)) as same:
        lease = take(store, "wallet")
        assert refused(same, "wallet", "ben").holder == "anna"
        for login in ("bank:wrong", "other:p%40ss%2Fword", None):
            url = with_login(zookeeper_url, login) if login else zookeeper_url
            with opened(url) as stranger:
                for verb in (
                    lambda: stranger.acquire(claim("wallet", "cleo")),
                    lambda: stranger.acquire(claim("free", "cleo")),
                    lambda: stranger.inspect("wallet"),
                    lambda: stranger.force_release("wallet"),
                    lambda: list(stranger.list()),
                ):
                    with pytest.raises(StoreUnavailable, match="user:password@host") as raised:
                        verb()
                    assert "p@ss" not in str(raised.value)
                    assert "wrong" not in str(raised.value)
        assert verdict(store, lease) is Verdict.RENEWED
        assert store.release(lease.claim)


def test_a_login_works_after_a_reconnection(zookeeper_url: str) -> None:
    """The login is said again on every connection."""
    with opened(with_login(zookeeper_url)) as store:
        lease = take(store, "wallet")
        store._session._client._connection._socket.shutdown(2)
        assert store.acquire(lease.claim).fence == lease.fence
        assert store.release(lease.claim)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("", CREATOR_ALL_ACL),
        ("&acl=creator", CREATOR_ALL_ACL),
        ("&acl=open", OPEN_ACL_UNSAFE),
        ("&acl=readable", [*CREATOR_ALL_ACL, *OPEN_ACL_UNSAFE]),
    ],
)
def test_the_acl_is_as_asked(zookeeper_url: str, asked: str, expected: list[object]) -> None:
    """With a login the creator alone, unless the URL says otherwise; on folders, locks and owners alike."""
    with opened(with_login(zookeeper_url) + asked) as store:
        take(store, "wallet")
        with bare(zookeeper_url, auth_data=[("digest", "bank:p@ss/word")]) as client:
            base = chroot(zookeeper_url)
            mark = client.get_children(f"{base}/lock:,owners")[0]
            for path in (f"{base}/lock:,locks", f"{base}/lock:,locks/wallet", f"{base}/lock:,owners/{mark}"):
                acls = {(acl.id.scheme, tuple(acl.acl_list)) for acl in client.get_acls(path)[0]}
                assert acls == _seen(expected, asked)


def _seen(expected: list[object], asked: str) -> set[tuple[str, tuple[str, ...]]]:
    creator, world = ("digest", ("ALL",)), ("world", ("READ",) if "readable" in asked else ("ALL",))
    return {world if acl in OPEN_ACL_UNSAFE else creator for acl in expected}


def test_a_readable_lock_is_seen_by_all_and_taken_by_none(zookeeper_url: str) -> None:
    """With acl=readable a stranger may look, and nothing else."""
    with opened(with_login(zookeeper_url) + "&acl=readable") as store, opened(zookeeper_url) as stranger:
        lease = take(store, "wallet")
        assert stranger.inspect("wallet").owner == "anna"
        assert [holding.owner for holding in stranger.list()] == ["anna"]
        for verb in (lambda: stranger.acquire(claim("free", "ben")), lambda: stranger.force_release("wallet")):
            with pytest.raises(StoreUnavailable, match="NoAuth"):
                verb()
        assert is_free(stranger, "free")
        assert verdict(store, lease) is Verdict.RENEWED


def test_a_chroot_of_somebody_else_is_an_outage_that_says_so(zookeeper_url: str) -> None:
    """Where the chroot may not be written to, the error names the way out."""
    with bare(zookeeper_url) as client:
        theirs = [make_digest_acl("owner", "secret", all=True)]
        client.ensure_path(chroot(zookeeper_url))
        client.set_acls(chroot(zookeeper_url), theirs)
        with pytest.raises(NoAuthError):
            client.get_children(chroot(zookeeper_url))
    with opened(zookeeper_url) as store, pytest.raises(StoreUnavailable, match=r"NoAuth.*may not do that"):
        store.acquire(claim("wallet"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("zookeeper://", "'' is no host:port"),
        ("zookeeper:///chroot", "'' is no host:port"),
        ("zookeeper://a,,b", "'' is no host:port"),
        ("zookeeper://host:0", "'host:0' is no host:port"),
        ("zookeeper://one two", "'one two' is no host:port"),
        ("zookeeper://host:port", "'host:port' is no host:port"),
        ("zookeeper://h/a//b", "each part of the chroot"),
        ("zookeeper://h/a/../b", "each part of the chroot"),
        ("zookeeper://h?acl=mine", "acl must be one of open, creator, readable, not 'mine'"),
        ("zookeeper://h?acl=creator", "acl=creator needs a user and a password"),
        ("zookeeper://user@h", "a user needs a password"),
        ("zookeeper://a%3Ab:c@h", "no colon in a user name"),
        ("zookeeper://h?session_timeout=0", "session_timeout must be seconds above 0"),
        ("zookeeper://h?session_timeout=soon", "not 'soon'"),
        ("zookeeper://h?timeout=nan", "timeout must be seconds above 0"),
        ("zookeeper://h?sesion_timeout=5", "unknown option 'sesion_timeout'; there are acl, session_timeout"),
        ("zookeeper://h?ca=/no/such.pem&use_ssl=true", "ca: there is no file /no/such.pem"),
        ("zookeeper://h?verify_certs=no", "options of TLS need use_ssl=true"),
        ("zookeeper://h?use_ssl=perhaps", "use_ssl must be true or false"),
    ],
)
def test_a_mistake_in_the_url_is_said(url: str, said: str) -> None:
    """Before anything is connected, in one line, with the right form."""
    with pytest.raises(LockConfigError) as raised:
        open_store(url)
    assert said in str(raised.value)
    assert "write zookeeper://[user:password@]host1:2181" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("url", ["zookeeper://u:se/cret@h", "zookeeper://u:se?cret@h", "zookeeper://u:se@cret@h:x"])
def test_a_password_that_must_be_quoted_is_never_shown(url: str) -> None:
    """The error asks for the quoting and shows no part of it."""
    with pytest.raises(LockConfigError) as raised:
        open_store(url)
    assert "cret" not in str(raised.value)


def test_a_url_is_taken_apart() -> None:
    """Hosts with their default port, IPv6 too, chroot, login and times."""
    found = parse("zookeeper://u:p@one,two:2182,[::1]:2183/a/b%20c?session_timeout=6&timeout=1.5", {"acl": "open"})
    assert found.hosts == ("one:2181", "two:2182", "[::1]:2183")
    assert (found.chroot, found.login, found.acl) == ("/a/b c", "u:p", "open")
    assert (found.session_timeout, found.timeout) == (6.0, 1.5)
    assert found.shown == "zookeeper://***@one,two:2182,[::1]:2183/a/b%20c"
    tls = parse("zookeeper://one?use_ssl=true&ca=/etc/hosts", {}).tls
    assert tls == {"use_ssl": True, "ca": "/etc/hosts", "verify_certs": True, "check_hostname": True}
    assert parse("zookeeper://one?use_ssl=1&verify_certs=0", {}).tls["check_hostname"] is False


# kazoo leaves a socket whose certificate was refused to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed:ResourceWarning")
def test_tls_is_spoken_and_checked() -> None:
    """With use_ssl=true, to a server whose certificate the named authority has signed, and to no other."""
    require(ZOOKEEPER, JAVA, OPENSSL)
    with SecureZooKeeperServer() as server:
        url = f"zookeeper://{server.secure_address}/tls?use_ssl=true&timeout=5"
        with opened(f"{url}&ca={server.certificate}") as store:
            lease = take(store, "wallet")
            assert verdict(store, lease) is Verdict.RENEWED
            with (
                opened(url.replace("timeout=5", "timeout=1")) as doubtful,
                pytest.raises(StoreUnavailable, match="TLS"),
            ):
                doubtful.acquire(claim("free"))


def test_nothing_connects_before_the_first_verb() -> None:
    """A store is opened while its servers are away."""
    store = open_store("zookeeper://no-such-host.invalid/locks")
    assert not store.release(claim("wallet"))
    store.close()
