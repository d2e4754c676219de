"""The worker's parts: what happens in the worker's main process."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request


class LockedRequest(Request):
    """A job's message, which also tells the job how it was serialized, so that a re-queue is sent the same way."""

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        self.request_dict["properties"] = {**(message.properties or {}), "content_type": message.content_type}
