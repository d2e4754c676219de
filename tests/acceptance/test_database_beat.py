"""Several beats over a schedule in a database, as django-celery-beat keeps it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.acceptance.beats import Scene, each_second_once
from tests.acceptance.nodes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.beats import Beat
    from tests.servers.redis import RedisServer

MODULE = "tests.acceptance.database_beat"
SETTINGS = {"lock_beat_scheduler": "django", "beat_schedule": {}}


def edit(beat: Beat, *words: str) -> None:
    """Change what is in the database, as the admin does."""
    subprocess.run([sys.executable, "-m", MODULE, *words], check=True, cwd=ROOT, env=beat.environment(), timeout=60)


def test_the_entries_of_a_database(hub: RedisServer, vault: RedisServer, tmp_path: Path) -> None:
    """Two beats, of which the leader is killed: each due time is sent once, and a change is seen by whoever leads."""
    database = {"database": str(tmp_path / "schedule.db")}
    scene = Scene(hub, vault.url, "database", module=MODULE, **SETTINGS, **database)
    report, audit = "database-report", "database-audit"
    scene.beats.pop()
    with contextlib.closing(scene):
        edit(scene.beats[0], "report")
        for beat in scene.beats:
            beat.start()
        scene.wait_for_more(3, report)
        scene.kill(scene.leader())
        scene.wait_for_more(3, report)
        edit(scene.beats[0], "-report", "audit")
        scene.wait_for_more(3, audit)
        sent = len(scene.sent(report))
        scene.kill(scene.leader())
        scene.wait_for_more(3, audit)
        assert len(scene.sent(report)) == sent, "what is switched off is not sent"
        each_second_once(scene, report)
        each_second_once(scene, audit)
