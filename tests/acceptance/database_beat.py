"""A Django project whose schedule is in a database: one module, for its beats and for a test that edits entries."""

from __future__ import annotations

import json
import os
import sys

import django
from celery import Celery
from django.conf import settings
from django.core.management import call_command
from django.db import connection

CONF = json.loads(os.environ["ACCEPTANCE_CONF"])
DATABASE = CONF.pop("database")
#: A beat notes there what it has sent while the test writes: who reads first and then writes would be refused at once.
UNHURRIED = {"timeout": 30, "transaction_mode": "IMMEDIATE"}
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE, "OPTIONS": UNHURRIED}},
    INSTALLED_APPS=["django_celery_beat"],
    USE_TZ=True,
    **{f"CELERY_{name.upper()}": value for name, value in CONF.items()},
)
django.setup()

app = Celery("scheduled")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()


def edit(*words: str) -> None:
    """Make the tables, and entries by their names, each second; `-` before a name switches one off."""
    from django_celery_beat.models import IntervalSchedule, PeriodicTask  # noqa: PLC0415 - when Django is set up

    if PeriodicTask._meta.db_table not in connection.introspection.table_names():
        call_command("migrate", verbosity=0)
    second, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
    for word in words:
        name = word.lstrip("-")
        defaults = {"task": name, "queue": f"{CONF['task_default_queue']}-{name}", "interval": second}
        PeriodicTask.objects.update_or_create(name=name, defaults={**defaults, "enabled": word == name})


if __name__ == "__main__":
    edit(*sys.argv[1:])
