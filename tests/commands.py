"""Commands as an operator gives them, in the process of a test."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from click.testing import CliRunner

from celery_locks.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> list[Any]:
        """The objects it printed."""
        return [json.loads(line) for line in self.out.splitlines()]


def run(command: Any, *words: object, **options: Any) -> Ended:
    """Any command. An exception that is no exit is the test's."""
    ended = CliRunner().invoke(command, [str(word) for word in words], prog_name="celery-locks", **options)
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return Ended(ended.exit_code, ended.stdout, ended.stderr)


def celery_locks(url: str, *words: object, **options: Any) -> Ended:
    """`celery-locks --url URL ...`."""
    return run(main, "--url", url, *words, **options)


def doors(folder: Path) -> str:
    """A folder that offers the commands of `pyproject.toml` as the installed package does, for a PYTHONPATH."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    groups = {"console_scripts": "project.scripts", "celery.commands": 'project.entry-points."celery.commands"'}
    lines = []
    for group, section in groups.items():
        [entries] = re.findall(rf"^\[{re.escape(section)}\]\n(.*?)\n\n", text, re.DOTALL | re.MULTILINE)
        lines += [f"[{group}]", entries.replace('"', ""), ""]
    info = folder / "celery_locks_doors-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: celery-locks-doors\nVersion: 0\n")
    (info / "entry_points.txt").write_text("\n".join(lines))
    return os.pathsep.join([str(folder), str(ROOT)])


def celery(*words: str, **environment: str) -> Ended:
    """`celery ...` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "celery", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


#: What changes from one run to the next.
_CHANGES = [
    (r"#[0-9a-f]{16}|\b[0-9a-f]{16}\b", "RANDOM"),
    (r"\[[0-9a-f-]+\]", "[ID]"),
    (r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b", "ID"),
    (r"@[\w.-]+:\d+", "@PLACE"),
    (r"\d+ on [\w.-]+", "PID on HOST"),
    (r"\S+://\S+", "URL"),
    (r"\d+-\d+-\d+ \d+:\d+:\d+ UTC", "WHEN"),
    (r"\d+[dhm] \d+[hms]|[\d.]+s", "SPAN"),
    (r"\d{16}", "FENCE"),
    (r" +", " "),
]


def masked(text: str) -> list[str]:
    """The lines of an output without what changes from one run to the next."""
    for pattern, word in _CHANGES:
        text = re.sub(pattern, word, text)
    return [line.strip() for line in text.splitlines()]


def shown(program: str) -> Iterator[tuple[list[str], str]]:
    """The commands of this program that docs/cli.md shows, and what they print."""
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```console\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        if block.startswith(f"$ {program} "):
            for command, printed in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
                yield shlex.split(command), printed
