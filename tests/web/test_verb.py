"""`celery-locks web` as it is started and ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from tests.commands import ROOT, celery_locks
from tests.web.visitor import PATIENCE, Site

#: Tests may run behind a shell that has its children ignore Ctrl-C.
AT_A_TERMINAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from celery_locks.cli import main
main()
"""


@contextlib.contextmanager
def started(*words):
    """The command in a process of its own, and what it said first."""
    command = [sys.executable, "-c", AT_A_TERMINAL, "--url", "memory://", "web", "--port", "0", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        overdue = threading.Timer(6 * PATIENCE, process.kill)
        overdue.start()
        try:
            yield process, process.stdout.readline()
        finally:
            overdue.cancel()
            process.kill()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_ends_when_it_is_told(how):
    """At a port that was free, with the pass behind the #; with exit code 0, and nothing on standard error."""
    with started("--json") as (process, line):
        site = Site(json.loads(line)["url"], [])
        assert site.rows() == []
        # One that hangs there holds up nobody.
        with socket.create_connection((site.host, site.port), PATIENCE):
            process.send_signal(how)
            out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "")
    assert [line for line in err.splitlines() if not line.startswith("Note: memory:// is the memory of one")] == []


def test_to_listen_beyond_this_machine_is_exit_code_2(tmp_path):
    """In one line, with the reason and what to do instead."""
    ended = celery_locks(f"file://{tmp_path}", "web", "--host", ".".join("0000"))
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "no login" in ended.err
    assert "ssh -L 5556:127.0.0.1:5556 HOST" in ended.err


def test_a_port_that_is_taken_is_exit_code_2(tmp_path):
    """And the mend is in the message."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = celery_locks(f"file://{tmp_path}", "web", "--port", taken.getsockname()[1])
    assert (ended.code, ended.out) == (2, "")
    assert "--port, or 0 for any" in ended.err
