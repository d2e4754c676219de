"""The tasks again, in a worker that dies or is refused at the moment it puts a job back on its queue."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from celery.signals import after_task_publish, before_task_publish
from kombu import Producer
from kombu.exceptions import OperationalError

from tests.acceptance.tasks import app

__all__ = ["app"]

FAULT = os.environ["ACCEPTANCE_FAULT"]
#: While this file exists the fault strikes; a death removes it first, and happens once.
ARMED = Path(os.environ["ACCEPTANCE_ARMED"])

publish = Producer.publish


def is_due(headers: dict[str, Any] | None) -> bool:
    """Whether a job is being put back on its queue."""
    return "lock_since" in (headers or {}) and ARMED.exists()


def die(headers: dict[str, Any] | None = None, **_: Any) -> None:
    """End the whole worker at once."""
    if is_due(headers):
        ARMED.unlink()
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def refused(self: Producer, *args: Any, **options: Any) -> Any:
    """Answer as a broker that takes no more messages; everything else is published."""
    if is_due(options.get("headers")):
        raise OperationalError("the broker takes nothing now")
    return publish(self, *args, **options)


if FAULT == "refuse":
    Producer.publish = refused
else:
    {"die after": after_task_publish, "die before": before_task_publish}[FAULT].connect(die)
