"""What is said of a job that its policy did not want to run, to whoever follows Celery's events."""

from __future__ import annotations

import pickle

import pytest
from billiard.einfo import ExceptionInfo
from celery.exceptions import Ignore

from celery_locks.refused import EXPIRED, Skipped
from tests.unit.hall import come, job


@pytest.fixture
def ended(hall, monkeypatch):
    """What is sent when a job ends with an error, as it comes from its process."""

    def end(error: Exception) -> list[tuple[str, dict]]:
        request, sent = come(job(hall)._get_current_object()), []
        monkeypatch.setattr(request, "send_event", lambda kind, **fields: sent.append((kind, fields)))
        try:
            raise pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        except Ignore:
            request.on_failure(ExceptionInfo(), return_ok=True)
        return sent

    return end


@pytest.mark.parametrize(("reason", "expired"), [("skipped: 'wallet:42' is taken", False), (EXPIRED, True)])
def test_a_skipped_job_is_a_revoked_one(ended, reason, expired):
    """Nothing else would say that it has ended."""
    assert ended(Skipped(reason)) == [("task-revoked", {"terminated": False, "signum": None, "expired": expired})]


def test_a_job_that_a_user_ignores_is_said_to_be_nothing(ended):
    """As Celery does."""
    assert ended(Ignore("as it pleases")) == []
