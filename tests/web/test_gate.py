"""Who may ask the page, and who is refused."""

from __future__ import annotations

import http.client
import json
import socket

import pytest

from celery_locks.cli.web.gate import HEADER, loopback
from celery_locks.errors import LockConfigError
from tests.web.visitor import PATIENCE, served, take

#: Every address at which something of the store is told or done.
QUESTIONS = ["/api/locks", "/api/lock?key=wallet:42", "/api/jobs?key=wallet:42", "/api/stats"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "127.8.8.8", "::1", "[::1]"])
def test_this_machine_alone_is_listened_to(host):
    """By its addresses, and by the one name that stands for it."""
    assert loopback(host, 1) in {"127.0.0.1", "127.8.8.8", "::1"}


@pytest.mark.parametrize(
    "host", [f"{0}.0.0.0", "::", "10.0.0.7", "192.168.1.1", "bank.example", "", "127.0.0.1.evil", "*"]
)
def test_to_listen_for_others_is_refused_with_the_reason(host):
    """There is no login: the error says so, and how to come in from elsewhere."""
    with pytest.raises(LockConfigError, match=r"(?s)no login.*ssh -L 5556:127\.0\.0\.1:5556"):
        loopback(host, 5556)


@pytest.mark.parametrize("path", QUESTIONS)
@pytest.mark.parametrize("given", [None, "", "wrong", "\xe4\xf6"])
def test_without_the_pass_nothing_is_told(store, site, path, given):
    """Other users of the machine reach its loopback, too: who does not know the pass is shown no key."""
    take(store, "wallet:42")
    answer = site.get(path, **{HEADER: given})
    assert (answer.status, set(answer.said)) == (401, {"error"})
    assert b"wallet" not in answer.body


def test_the_pass_of_an_earlier_start_is_worth_nothing(store, site):
    """Each start has its own."""
    with served(store) as other:
        assert other.known != site.known
        assert len(site.known) >= 32
        assert other.get("/api/locks", **{HEADER: site.known}).status == 401


def test_a_cookie_or_an_address_with_the_pass_opens_nothing(store, site):
    """A browser sends cookies to every port of a machine, and addresses end in logs: neither is looked at."""
    take(store, "wallet:42")
    known = site.known
    assert site.get(f"/api/locks?pass={known}", **{HEADER: None, "Cookie": f"pass={known}"}).status == 401
    assert "set-cookie" not in site.get("/").headers


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil:{port}",
             "0.0.0.0:{port}", "10.0.0.7:{port}", "localhost:{port}@evil.example", "127.0.0.1:port"],
)  # fmt: skip
def test_a_name_that_was_made_to_point_here_is_refused(store, site, host):
    """DNS rebinding: a page of evil.example whose name now has the address 127.0.0.1, even with the right pass."""
    take(store, "wallet:42")
    for path in ("/", "/page.js", *QUESTIONS):
        answer = site.get(path, Host=host and host.format(port=site.port))
        assert (answer.status, b"wallet" in answer.body) == (403, False)
    assert site.release("wallet:42", "1", Host=host, Origin=f"http://{host}").status == 403


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "localhost:{port}", "LocalHost:{port}", "[::1]:{port}", "localhost:9000", "localhost"]
)
def test_the_names_of_this_machine_are_ours(site, host):
    """With any port: that of the near end of a tunnel may be another one."""
    assert site.get("/", Host=host.format(port=site.port)).status == 200


def test_two_names_are_none(site):
    """Which one counts would be for each to guess."""
    with socket.create_connection((site.host, site.port), PATIENCE) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert b" 403 " in line.makefile("rb").readline()


@pytest.mark.parametrize(
    "origin", [None, "", "null", "http://evil.example", "http://127.0.0.1:1", "https://127.0.0.1:{port}",
               "http://localhost:{port}", "http://127.0.0.1:{port}.evil.example"],
)  # fmt: skip
def test_a_release_that_another_page_has_sent_is_refused(store, site, origin):
    """Also by a page at another port of this machine; and by whoever does not say where it comes from."""
    lease = take(store, "wallet:42")
    answer = site.release("wallet:42", str(lease.fence), Origin=origin and origin.format(port=site.port))
    assert (answer.status, store.inspect("wallet:42") is not None, site.told) == (403, True, [])


def test_another_page_reads_nothing_either(store, site):
    """It is refused, and no header of ours would let its browser show it the answer."""
    take(store, "wallet:42")
    answer = site.get("/api/locks", Origin="http://evil.example")
    assert (answer.status, b"wallet" in answer.body) == (403, False)
    for each in (answer, site.get("/api/locks"), site.ask("OPTIONS", "/api/release", Origin="http://evil.example")):
        assert not [name for name in each.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_what_a_form_can_send_releases_nothing(store, site, kind):
    """Not even with the pass and the origin."""
    lease = take(store, "wallet:42")
    assert site.release("wallet:42", str(lease.fence), Content_Type=kind).status == 415
    assert store.inspect("wallet:42") is not None


def test_a_release_needs_the_pass(store, site):
    """Whatever else is right."""
    lease = take(store, "wallet:42")
    for given in (None, "wrong"):
        assert site.release("wallet:42", str(lease.fence), **{HEADER: given}).status == 401
    assert (store.inspect("wallet:42") is not None, site.told) == (True, [])


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_nothing_but_a_post_changes_anything(store, site, method):
    """However it is written."""
    lease = take(store, "wallet:42")
    body = json.dumps({"key": "wallet:42", "fence": str(lease.fence)}).encode()
    for path in ("/api/release", f"/api/release?key=wallet:42&fence={lease.fence}", "/api/locks"):
        answer = site.ask(method, path, body, Content_Length=str(len(body)), Content_Type="application/json")
        assert answer.status in {404, 501} or path == "/api/locks"
    assert store.inspect("wallet:42") is not None


@pytest.mark.parametrize("path", ["/", "/page.js", "/api/locks", "/api/none", "/api/locks?x"])
def test_every_answer_forbids_what_a_browser_might_do_with_it(site, path):
    """Nothing inline runs, nothing is loaded from elsewhere, nothing is framed, kept, guessed or passed on."""
    headers = site.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["server"] == "celery-locks"


def test_an_unreadable_request_is_answered_the_same_way(site):
    """As JSON, with all headers, and without a word of its own in it."""
    with socket.create_connection((site.host, site.port), PATIENCE) as line:
        line.sendall(b"<script>alert(1)</script> / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = http.client.HTTPResponse(line)
        answer.begin()
        assert answer.status in {400, 501}
        assert answer.getheader("Content-Type") == "application/json; charset=utf-8"
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert "error" in json.loads(answer.read())
