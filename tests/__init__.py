"""The tests of celery_locks."""
