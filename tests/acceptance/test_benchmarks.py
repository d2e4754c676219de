"""The benchmarks run: each of them, to its end, with figures that can be read. How fast is never a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.servers.programs import ETCD, JAVA, MARIADB, POSTGRES, REDIS, ZOOKEEPER

ROOT = Path(__file__).parents[2]
PATIENCE = 400
#: The stores with a benchmark of their own, and what it needs: without that it says so.
STORES = {
    "etcd": (ETCD,),
    "zookeeper": (ZOOKEEPER, JAVA),
    "redlock": (REDIS,),
    "sql": (POSTGRES, MARIADB),
    "sessions": (POSTGRES, MARIADB),
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_every_benchmark_runs(tmp_path: Path) -> None:
    """All of them, in a few rounds: each gives figures, whatever they are the exit code is 0, and JSON has the same."""
    names = ["uncontended", "throughput", "import", "memory", "renew", *STORES, "profile"]
    ended = run(*names, "--quick", "--json", str(tmp_path / "figures.json"))
    assert ended.returncode == 0, ended.stderr
    report = json.loads((tmp_path / "figures.json").read_text())
    figures = {part["name"]: part["figures"] for part in report["benchmarks"]}
    assert list(figures) == names
    assert all(figures[name] for name in names if all(program.find() for program in STORES.get(name, ())))
    assert all(figure["what"] in ended.stdout for part in figures.values() for figure in part)


def test_targets_stand_beside_their_figures(tmp_path: Path) -> None:
    """The targets for renewing are in the report, each with its verdict."""
    assert run("renew", "--quick", "--json", str(tmp_path / "figures.json")).returncode == 0
    (part,) = json.loads((tmp_path / "figures.json").read_text())["benchmarks"]
    held = [figure for figure in part["figures"] if figure["target"]]
    assert len(held) == 3
    assert all(figure["met"] == (figure["value"] <= 1) for figure in held)


def test_an_unknown_benchmark_is_an_error() -> None:
    """A slip in a name is refused, with the names there are."""
    ended = run("trhoughput")
    assert ended.returncode == 2
    assert "unknown benchmark trhoughput: choose from uncontended, " in ended.stderr
