"""Apps with settings, and the store that these name."""

from __future__ import annotations

import types

from celery import Celery

from celery_locks.config import store_settings


def app(**conf: object) -> Celery:
    made = Celery("bank", set_as_current=False)
    made.conf.update(conf)
    return made


def django_app(**settings: object) -> Celery:
    """An app that reads a settings module, as Django projects do."""
    made = Celery("bank", set_as_current=False)
    made.config_from_object(types.SimpleNamespace(**settings), namespace="CELERY")
    return made


def store_url(**conf: object) -> str:
    return store_settings(app(**conf).conf).url
