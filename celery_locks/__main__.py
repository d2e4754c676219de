"""`python -m celery_locks` is `celery-locks`."""

from __future__ import annotations

from celery_locks.cli import main

if __name__ == "__main__":
    main(prog_name="celery-locks")
