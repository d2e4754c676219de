"""The page of `celery locks web`."""
