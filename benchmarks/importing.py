"""What `import celery_locks` adds to a program that has imported Celery, in fresh processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.report import AtMost, Figure, Measured, Part

ROOT = Path(__file__).parents[1]
TIMED = """
import time
{before}
started = time.perf_counter()
{measured}
print(time.perf_counter() - started)
"""
SUBJECTS = {
    "import celery_locks, after celery": ("import celery", "import celery_locks"),
    "Locks with it, after celery": ("import celery", "from celery_locks import Locks"),
    "LockedTask with it, after celery's Task": (
        "from celery import Celery, Task",
        "from celery_locks import LockedTask",
    ),
    "Locks('redis://') with it, after celery and redis": (
        "import celery, redis",
        "from celery_locks import Locks; Locks('redis://')",
    ),
    "redis alone, after celery": ("import celery", "import redis"),
    "celery alone": ("", "import celery"),
}


def run(_url: str, *, quick: bool) -> Part:
    """One process an import. The first of each, which may have to compile, is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    for round_ in range((1 if quick else 20) + 1):
        for name, (before, measured) in SUBJECTS.items():
            took = _import_time(before, measured)
            if round_:
                seconds[name].append(1000 * took)
    return Part("import", "fresh processes", [_figure(name, values) for name, values in seconds.items()])


def _figure(name: str, millis: list[float]) -> Figure:
    target = AtMost(30) if name.startswith("import celery_locks") else None
    return Figure.of(name, Measured.of(millis), "ms", target)


def _import_time(before: str, measured: str) -> float:
    code = TIMED.format(before=before, measured=measured)
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S603 - our own
    return float(answer.stdout)
