"""What `celery amqp` asks of the package of this name: its real one is a seventh of what a worker's start costs."""

from __future__ import annotations

from typing import Any


def register_repl(group: Any, name: str = "repl") -> None:
    """Leave the command line without a prompt."""
