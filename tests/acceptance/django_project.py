"""A Django project in one module: Celery configured from its settings, as its documentation shows."""

from __future__ import annotations

import json
import os

from celery import Celery, shared_task
from django.conf import settings

from celery_locks import LockedTask
from tests.acceptance import bodies

CONF = json.loads(os.environ["ACCEPTANCE_CONF"])
settings.configure(**{f"CELERY_{name.upper()}": value for name, value in CONF.items()})

app = Celery("django_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()


@shared_task(base=LockedTask, name="of_django", lock_key="{key}")
def of_django(key: str, job: str, seconds: float = 0.0) -> str:
    """A shared task, which is declared without an app."""
    return bodies.work(app.current_task, key, job, seconds)
