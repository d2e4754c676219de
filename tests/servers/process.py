"""A server as a private process: its own port, directory and process group, and gone when the run is."""

from __future__ import annotations

import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import psutil

from tests.waiting import wait_until

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from tests.servers.programs import Program

HOST = "127.0.0.1"
_taken: set[int] = set()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port(low: int = 20_000, high: int = 32_000, beside: int = 0) -> int:
    """A free loopback port below the ephemeral range; `beside` asks that port + beside is free too."""
    for _ in range(1_000):
        ports = {port := random.randrange(low, high), port + beside}
        if not ports & _taken and all(map(_is_free, ports)):
            _taken.update(ports)
            return port
    raise RuntimeError(f"no free loopback port between {low} and {high}")


@functools.cache
def _end_with_us() -> tuple[str, ...]:
    """The words that make the kernel end a process when the thread that started it ends; none where it cannot."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    words = (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()
    works = words and subprocess.run([*words, "true"], check=False, capture_output=True).returncode == 0
    return words if works else ()


class PrivateServer(ABC):
    """A server process that belongs to this test run alone."""

    program: ClassVar[Program]
    patience: ClassVar[float] = 60
    """Seconds within which it must answer, and must end when asked to."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{type(self).__name__.lower()}-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    @abstractmethod
    def command(self) -> list[str]:
        """The words that start it."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it answers now: asked of the server itself."""

    def environment(self) -> dict[str, str]:
        """Its environment."""
        return dict(os.environ)

    def __repr__(self) -> str:
        return f"{type(self).__name__} on port {self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process id; an error before the first start."""
        if self._process is None:
            raise RuntimeError(f"{self} was never started")
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether its process exists, paused or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it answers."""
        if threading.current_thread() is not threading.main_thread():
            # The kernel ties the server's life to the thread that started it, not to the process.
            raise RuntimeError(f"start {self} from the main thread: it would end together with this one")
        if self.is_alive():
            return
        self._spawn()
        try:
            wait_until(self._is_ready, f"{self} to answer", self.patience)
        except TimeoutError as error:
            self.kill()
            raise TimeoutError(f"{error}; its log ends:\n{self.log_tail()}") from None

    def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_end_with_us(), *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=self.environment(),
                start_new_session=True,
            )

    def _is_ready(self) -> bool:
        if not self.is_alive():
            raise RuntimeError(f"{self} ended before it answered; its log ends:\n{self.log_tail()}")
        return self.answers()

    @property
    def _log(self) -> Path:
        return self.directory / "server.log"

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log."""
        said = self._log.read_text(errors="replace") if self._log.exists() else ""
        return "\n".join(said.splitlines()[-lines:])

    def stop(self) -> None:
        """Ask it to end and wait until it has; its port and data stay for the next start."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._signal(how)
        self.resume()
        try:
            self._process.wait(self.patience)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing is answered."""
        self._paused = True
        self._signal(signal.SIGSTOP)
        # A signal takes a moment, in which one more question may be answered.
        wait_until(self._stands_still, f"{self} to stand still")

    def _stands_still(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return all(_is_stopped(each.pid) for each in [process, *process.children(recursive=True)])
        except psutil.NoSuchProcess:
            # One that was killed before stands still for good.
            return True

    def resume(self) -> None:
        """Let a frozen server go on."""
        if self._paused:
            self._paused = False
            self._signal(signal.SIGCONT)

    def _signal(self, what: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, what)

    def restart(self) -> None:
        """Stop it and start it again on the same port with the same data."""
        self.stop()
        self.start()

    def heal(self) -> bool:
        """Undo what a test did to it: resume it, start it. True when there was something to undo."""
        broken = self._paused or not self.is_alive()
        self.resume()
        self.start()
        return broken

    def close(self) -> None:
        """End it and remove its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def _is_stopped(pid: int) -> bool:
    """Whether all threads of a process are stopped, or, where that cannot be seen, the process as a whole."""
    threads = list(Path(f"/proc/{pid}/task").glob("*/stat"))
    if not threads:
        return psutil.Process(pid).status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
    try:
        states = [thread.read_text().rpartition(")")[2].split()[0] for thread in threads]
    except OSError:
        # A thread has just ended: look again.
        return False
    return all(state in {"T", "t", "Z", "X"} for state in states)
