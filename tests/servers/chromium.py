"""A headless Chromium as a private process, spoken to through a pipe: no port is opened and no client is needed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

from tests.servers.programs import CHROMIUM

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 30.0
#: It looks up no name and speaks to nobody but this machine; and a first start asks nothing.
_WORDS = (
    "--headless",
    "--remote-debugging-pipe",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--no-first-run",
    "--no-proxy-server",
    "--password-store=basic",
)


class Chromium:
    """One browser. Its answers and events are read by a thread."""

    def __init__(self) -> None:
        self._directory = tempfile.mkdtemp(prefix="chromium-")
        self._log = Path(self._directory, "log")
        self._pid = 0
        self._number = 0
        self._answers: dict[int, Queue[dict[str, Any]]] = {}
        self._listeners: dict[str, Callable[[str, dict[str, Any]], None]] = {}

    def start(self) -> None:
        """Start it, and wait until it answers."""
        ends = [*os.pipe(), *os.pipe()]
        # Clear of those that they become: it reads what it is asked from 3, and answers to 4.
        its_in, our_out, our_in, its_out = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
        self._pid = os.posix_spawn(
            self._words()[0],
            self._words(),
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 2, str(self._log), os.O_WRONLY | os.O_CREAT, 0o600),
                (os.POSIX_SPAWN_DUP2, its_in, 3),
                (os.POSIX_SPAWN_DUP2, its_out, 4),
            ],
            setpgroup=0,
        )
        for end in (*ends, its_in, its_out):
            os.close(end)
        # It ends by itself when our end of the pipe does.
        self._out = os.fdopen(our_out, "wb", buffering=0)
        self._in = os.fdopen(our_in, "rb", buffering=0)
        self._reader = threading.Thread(target=self._read, name="chromium", daemon=True)
        self._reader.start()
        self.ask("Browser.getVersion")

    def heal(self) -> bool:
        """Nothing that a test does to it."""
        return False

    def close(self) -> None:
        """End it, with all its processes."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._out.close()
            self._reader.join(PATIENCE)
        shutil.rmtree(self._directory, ignore_errors=True)

    def ask(self, what: str, session: str | None = None, **words: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, and its answer."""
        self._number += 1
        number, answer = self._number, Queue[dict[str, Any]]()
        self._answers[number] = answer
        told = {"id": number, "method": what, "params": words, **({"sessionId": session} if session else {})}
        self._out.write(json.dumps(told).encode() + b"\0")
        try:
            heard = answer.get(timeout=PATIENCE)
        except Empty:
            raise TimeoutError(
                f"Chromium did not answer {what}; its log ends: {self._log.read_text()[-2000:]}"
            ) from None
        if "error" in heard:
            raise RuntimeError(f"{what}: {heard['error']}")
        return dict(heard["result"])

    def listen(self, session: str, listener: Callable[[str, dict[str, Any]], None]) -> None:
        """Have the events of a page told."""
        self._listeners[session] = listener

    def _read(self) -> None:
        said = b""
        while part := self._in.read(65_536):
            *whole, said = (said + part).split(b"\0")
            for each in whole:
                self._heard(json.loads(each))
        self._in.close()

    def _heard(self, told: dict[str, Any]) -> None:
        if answer := self._answers.pop(told.get("id", 0), None):
            answer.put(told)
        elif listener := self._listeners.get(told.get("sessionId", "")):
            listener(told["method"], told["params"])

    def _words(self) -> list[str]:
        # A sandbox of its own is refused to root.
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        return [str(CHROMIUM.find()), *_WORDS, f"--user-data-dir={self._directory}", *root]
