"""The same tasks in a program that counts for Prometheus."""

from __future__ import annotations

from celery_locks.instrumentation import prometheus
from tests.acceptance.tasks import app

__all__ = ["app"]

prometheus.install()
