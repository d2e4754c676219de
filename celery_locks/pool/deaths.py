"""Tells when a process of the pool has died, and wakes whoever waits for that when a process rings."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading

#: Where the system cannot tell of a death, it is looked for this often, in seconds.
LOOK = 0.25


class Bell:
    """Wakes the main process. All who are forked from it may ring; ringing never waits."""

    def __init__(self, ends: tuple[int, int] | None = None) -> None:
        self.fd, self.rope = ends or os.pipe()
        for end in (self.fd, self.rope):
            os.set_blocking(end, False)

    def ring(self) -> None:
        """Wake it. A full pipe has woken it already; who rings has a job to do, whatever became of the pipe."""
        with contextlib.suppress(OSError):
            os.write(self.rope, b"!")

    def hush(self) -> None:
        """Begin to listen anew."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.fd, 4096):
                pass


class Deaths:
    """The living processes of a pool, by their descriptors where the system has such."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._poll = select.poll()
        self._poll.register(bell.fd, select.POLLIN)
        self._fds: dict[int, int | None] = {}
        # A descriptor that is closed may be another process's at once.
        self._mutex = threading.Lock()

    def expect(self, pid: int) -> None:
        """Tell when this process dies, or that it has."""
        if pid in self._fds:
            return
        self._fds[pid] = fd = _descriptor(pid)
        if fd is not None:
            self._poll.register(fd, select.POLLIN)

    def wait(self, timeout: float) -> list[int]:
        """Those that have died, once there are some, or the bell rings, or the time is over."""
        if None in self._fds.values():
            timeout = min(timeout, LOOK)
        ready = {fd for fd, _ in self._poll.poll(timeout * 1000)}
        if self._bell.fd in ready:
            self._bell.hush()
        dead = [pid for pid, fd in self._fds.items() if (not _lives(pid) if fd is None else fd in ready)]
        for pid in dead:
            self._forget(pid)
        return dead

    def strike(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to one that lives."""
        with self._mutex, contextlib.suppress(ProcessLookupError, PermissionError):
            if pid in self._fds and not _is_sent(self._fds[pid], number) and _lives(pid):
                os.kill(pid, number)

    def _forget(self, pid: int) -> None:
        with self._mutex:
            fd = self._fds.pop(pid)
            if fd is not None:
                self._poll.unregister(fd)
                os.close(fd)


def _descriptor(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        # No Linux, an old one, a sandbox that forbids it; or it is dead, which is seen at the next look.
        return None


def _is_sent(fd: int | None, number: signal.Signals) -> bool:
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        raise
    except OSError:
        # A sandbox may allow descriptors of processes and forbid this.
        return False
    return True


def _lives(pid: int) -> bool:
    """Whether it is a child of this process, and lives. The number of a dead one may be another's by now."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
    except (AttributeError, OSError):
        # No such call before Python 3.13 on macOS.
        return _exists(pid)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
