"""One question to all workers of an app, over a broker that may hang."""

from __future__ import annotations

import abc
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The time a thread gets beyond that of the workers, to be done with its connection.
GRACE = 1.0


class Answered(Exception):
    """No error: it ends the waiting for more answers."""


class Question(abc.ABC):
    """Asked once. What the workers say is told by whoever asks it."""

    def __init__(self, app: Any, command: str, **arguments: Any) -> None:
        self._app = app
        self._command = command
        self._arguments = arguments
        self.answered = 0
        self.trouble = ""

    def ask(self, patience: float) -> None:
        """Ask, and wait so long for answers, or for a broker that cannot be reached."""
        # A broker that hangs would be waited for by Celery for as long as its transport likes.
        asking = threading.Thread(target=self._ask, args=(patience,), name="celery_locks-question", daemon=True)
        asking.start()
        asking.join(patience + GRACE)
        if asking.is_alive() and not self.answered:
            self.trouble = "the broker did not answer"

    @abc.abstractmethod
    def heard(self, worker: str, said: Any) -> None:
        """Take the answer of a worker. `Answered`, when no other is wanted."""

    def sent(self) -> None:  # noqa: B027 - only who measures the way needs it
        """It is sent at this moment."""

    def _ask(self, patience: float) -> None:
        try:
            with self._app.connection_for_write() as connection:
                # By itself it would be tried for ever.
                connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=patience)
                self.sent()
                self._app.control.broadcast(
                    self._command,
                    arguments=self._arguments,
                    reply=True,
                    timeout=patience,
                    callback=self._heard,
                    connection=connection,
                )
        except Answered:
            pass
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, and it may name a password
            self.trouble = f"the broker could not be asked ({type(error).__name__})"

    def _heard(self, body: Mapping[str, Any]) -> None:
        for worker, said in body.items():
            self.answered += 1
            self.heard(worker, said)
