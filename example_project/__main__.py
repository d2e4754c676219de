"""`python -m example_project`: the show, its table, and an exit code that is not 0 if a promise was broken."""

from __future__ import annotations

import sys
import time

from .demo import show
from .interrupts import heed
from .judge import exit_code
from .screen import open_screen


def main() -> int:
    """Run the show. Interrupted, it stops what it started and answers 130."""
    heed()
    screen = open_screen()
    began = time.monotonic()
    try:
        checks = show(screen)
    except KeyboardInterrupt:
        screen.say("interrupted: the workers and the server are stopped")
        return 130
    screen.table(checks)
    screen.say(f"{time.monotonic() - began:.0f} s")
    return exit_code(checks)


if __name__ == "__main__":
    sys.exit(main())
