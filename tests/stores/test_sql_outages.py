"""A database that hangs, refuses or is not there: an outage in bounded time, with a remedy, and never 'taken'."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Lease, Verdict
from tests.stores.contract.asking import claim, goes_on_alone, refused, take, verbs, verdict
from tests.stores.processes import Crew
from tests.stores.sql_stores import QUICK, SERVERS, opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.stores.sql import SqlStore
    from tests.servers.proxy import Proxy
    from tests.stores.sql_stores import Served


@pytest.fixture
def store(server: Served) -> Iterator[SqlStore]:
    """A client that has a connection already."""
    with opened(server.url + QUICK) as store:
        take(store, "first")
        yield store


@SERVERS
def test_a_hung_server_costs_a_bounded_time(store: SqlStore, server: Served) -> None:
    """Each verb on a frozen server is an outage after its time: that of the request, and one to connect again."""
    lease = take(store, "wallet")
    server.server.pause()
    for verb in verbs(store, lease):
        before = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"\?timeout=2"):
            verb()
        # libpq never takes less than 2 s to connect.
        assert time.monotonic() - before < 15
    server.server.resume()
    wait_until(lambda: store.release(lease.claim), "the release of what was held")


@SERVERS
def test_a_resumed_server_has_no_lock_of_those_that_gave_up(store: SqlStore, server: Served) -> None:
    """Requests that lay in a frozen server's buffers take no key when it goes on."""
    server.server.pause()
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet"))
    server.server.resume()
    wait_until(server.server.answers, "the server to go on")
    with opened(server.url) as other:
        wait_until(lambda: server.sessions == 1 or other.inspect("none"), "the late request to be read")
        assert other.inspect("wallet") is None
        take(other, "wallet", "ben")


@SERVERS
def test_a_refused_connection_is_an_outage(proxy: Callable[[str], Proxy], server: Served) -> None:
    """Nobody listens: one line that says so, names the address and hides the password."""
    way = proxy(server.url)
    way.refuse()
    with opened(way.url.replace("@", ":secret@")) as store:
        with pytest.raises(StoreUnavailable, match="check that the server runs") as caught:
            store.acquire(claim("wallet"))
        assert f":{way.port}/" in str(caught.value)
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)


@SERVERS
def test_an_acquire_that_is_cut_before_a_refused_connection_leaves_no_lock(
    proxy: Callable[[str], Proxy], server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request went through; that there was no connection for the second try does not undo the first."""
    way, refused_once = proxy(server.url), []

    with opened(way.url + QUICK) as store, opened(server.url) as other:
        take(store, "first")
        wire = store._database._wire
        connect = wire._connect

        def refused_first() -> object:
            if not refused_once:
                refused_once.append(1)
                raise ConnectionRefusedError("Connection refused")
            return connect()

        monkeypatch.setattr(wire, "_connect", refused_first)
        way.cut_answer(b"INSERT INTO")
        with pytest.raises(StoreUnavailable):
            store.acquire(claim("wallet"))
        assert refused_once
        take(other, "wallet", "ben")


@SERVERS
def test_a_server_may_be_restarted_between_two_verbs(store: SqlStore, server: Served) -> None:
    """Its locks are kept, and each verb works at once."""
    lease = take(store, "wallet")
    server.server.restart()
    assert verdict(store, lease) is Verdict.RENEWED
    server.server.kill()
    server.server.start()
    refused(store, "wallet")
    server.server.restart()
    assert store.release(lease.claim)


@SERVERS
def test_fences_grow_across_a_restart(store: SqlStore, server: Served) -> None:
    """Killed and started again, the database counts on from what it has written down, far ahead of its clock."""
    far = take(store, "wallet").fence + 10**12
    assert store.release(claim("wallet"))
    server.ask(f"UPDATE celery_locks SET fence = {far}")
    server.server.kill()
    server.server.start()
    assert take(store, "wallet", "ben").fence == far + 1


@SERVERS
def test_a_row_that_another_transaction_holds_is_an_outage(store: SqlStore, server: Served) -> None:
    """Whoever cannot see whether a key is taken says so; and takes nothing when the row is free again."""
    lease = take(store, "wallet", ttl=0.1)
    wait_until(lambda: not lease.held(), "the end of the lease")
    with _holding_the_row(server), pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet", "ben"))
    with opened(server.url) as other:
        wait_until(lambda: server.sessions <= 2, "the sessions that gave up to end", timeout=20)
        assert other.inspect("wallet") is None


@contextlib.contextmanager
def _holding_the_row(server: Served) -> Iterator[None]:
    with opened(server.url) as helper:
        connection = helper._database._opener.connection()
        cursor = connection.cursor()
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM celery_locks FOR UPDATE")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")
            connection.close()


@SERVERS
def test_a_deadlock_is_tried_again(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that the database ended to let others pass is neither 'taken' nor an outage."""
    wire, struck = store._database._wire, []
    run = wire.run

    def ended(*arguments: object) -> object:
        if len(struck) < 3:
            struck.append(1)
            driver = store._database._opener.dialect.loaded_dbapi
            error = driver.OperationalError(1213, "Deadlock found")
            error.sqlstate = "40P01"
            raise error
        return run(*arguments)

    monkeypatch.setattr(wire, "run", ended)
    take(store, "wallet")
    assert len(struck) == 3


@SERVERS
def test_first_users_make_the_table_together(server: Served) -> None:
    """Threads that all find no table each get their answer, and one of them the key."""
    answers: list[Lease | Busy] = []
    together = threading.Barrier(12)

    def ask(number: int) -> None:
        with opened(server.url) as store:
            together.wait(30)
            answers.append(store.acquire(claim("wallet", f"owner {number}")))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 12
    assert sum(isinstance(answer, Lease) for answer in answers) == 1


@SERVERS
def test_children_never_share_a_connection(server: Served) -> None:
    """A store that has spoken is used by children and parent at once: each hears its own answers, and may close it."""
    with opened(server.url) as store:
        lease = take(store, "parent")

        def child(number: int) -> None:
            goes_on_alone(store, number, 10)
            store.close()

        with Crew() as crew:
            for number in range(4):
                crew.start(child, number)
            goes_on_alone(store, 99, 10)
            crew.done()
        assert verdict(store, lease) is Verdict.RENEWED


@SERVERS
def test_a_user_without_rights_is_told_which(server: Served) -> None:
    """Who may not make the table is told what to give it, and that another can make the table once."""
    server.ask("CREATE USER guest")
    try:
        login = f"guest@127.0.0.1:{server.server.port}/{server.database}"
        url = f"{server.url.partition('://')[0]}://{login}"
        with opened(url) as store, pytest.raises(StoreUnavailable, match="one who may create tables make it once"):
            store.acquire(claim("wallet"))
    finally:
        server.ask("DROP USER guest")


@pytest.mark.parametrize("server", ["postgres"], indirect=True)
def test_prepared_statements_can_be_left_out(server: Served) -> None:
    """A pooler that shares sessions does not know them; `?prepare_threshold=none` makes none, however often we ask."""
    with opened(f"{server.url}?prepare_threshold=none") as store:
        for number in range(12):
            take(store, "wallet", f"owner {number}")
            assert store.release(claim("wallet", f"owner {number}"))
        (connection,) = store._database._wire._idle
        assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
