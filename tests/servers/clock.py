"""The clock of one process set wrong: what the kernel says, and so much more."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.servers.missing import require
from tests.servers.programs import CC

if TYPE_CHECKING:
    from pathlib import Path

_SHIM = """
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now) {
  long failed = syscall(SYS_clock_gettime, id, now);
  if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
    now->tv_sec += atol(getenv("CLOCK_AHEAD"));
  return failed;
}
"""


def clock_ahead(seconds: int, folder: Path) -> dict[str, str]:
    """The environment of a process whose clock is ahead by so much. It counts seconds as ever, as a set clock does."""
    require(CC)
    shim = folder / "clock.so"
    words = [CC.name, "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-x", "c", "-", "-o", str(shim)]
    subprocess.run(words, input=_SHIM, text=True, check=True)
    return {"LD_PRELOAD": str(shim), "CLOCK_AHEAD": str(seconds)}
