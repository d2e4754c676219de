"""The benchmarks run: each of them, to its end, with figures that can be read. How fast is never a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

from tests.servers.programs import ETCD, JAVA, MARIADB, POSTGRES, REDIS, ZOOKEEPER

ROOT = Path(__file__).parents[2]
PATIENCE = 400
#: The stores with a benchmark of their own, and what it needs: without that it says so.
STORES = {
    "etcd": (ETCD,),
    "zookeeper": (ZOOKEEPER, JAVA),
    "redlock": (REDIS,),
    "sql": (POSTGRES, MARIADB),
    "fence-django": (),
    "fence-redis": (),
    "fence-sqlalchemy": (),
    "sessions": (POSTGRES, MARIADB),
}


def run(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def figures_of(report: Path) -> dict[str, dict[str, Any]]:
    """Each benchmark's figures, by what they are of."""
    parts = json.loads(report.read_text())["benchmarks"]
    return {part["name"]: {figure["what"]: figure for figure in part["figures"]} for part in parts}


ALONE = ["uncontended", "throughput", "import", "memory", "renew", "kept", *STORES, "profile"]
CONTENTION = ["hot-key", "short-jobs", "many-keys", "line-length", "many-lines"]


@pytest.mark.parametrize(
    ("asked", "names"),
    [pytest.param(ALONE, ALONE, id="one by one"), pytest.param(["contention"], CONTENTION, id="group")],
)
def test_every_benchmark_runs(tmp_path: Path, asked: list[str], names: list[str]) -> None:
    """All of them, in a few rounds: each gives figures, whatever they are the exit code is 0, and JSON has the same."""
    ended = run(*asked, "--quick", "--json", str(tmp_path / "figures.json"))
    assert ended.returncode == 0, ended.stderr
    figures = figures_of(tmp_path / "figures.json")
    assert list(figures) == names
    assert all(figures[name] for name in names if all(program.find() for program in STORES.get(name, ())))
    assert all(what in ended.stdout for part in figures.values() for what in part)


def test_the_hot_key_tells_the_ways_apart(tmp_path: Path) -> None:
    """In no way do jobs overlap; ours are held to their targets, the others to none; the chart is a picture."""
    picture = tmp_path / "chart.png"
    drawn = ["--chart", str(picture)] if find_spec("matplotlib") else []
    ended = run("hot-key", "--quick", "--json", str(tmp_path / "figures.json"), *drawn)
    assert ended.returncode == 0, ended.stderr
    figures = figures_of(tmp_path / "figures.json")["hot-key"]
    assert [each["value"] for what, each in figures.items() if what.endswith("overlap")] == [0, 0, 0, 0]
    assert [each["target"] for what, each in figures.items() if what.endswith("busy")] == [">= 93", ">= 97", None, None]
    by_hand = figures["redis-py Lock, retry(countdown=1): re-queues a job"]["value"]
    assert by_hand, "no job found its key taken: this run proves nothing"
    assert not drawn or picture.read_bytes().startswith(b"\x89PNG")


def test_a_chart_without_matplotlib_is_refused(tmp_path: Path) -> None:
    """Before anything is measured, with what is to be installed."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys; sys.modules['matplotlib'] = None")
    ended = run("hot-key", "--chart", str(tmp_path / "chart.png"), environment={"PYTHONPATH": str(hidden)})
    assert ended.returncode == 2
    assert "pip install matplotlib" in ended.stderr
    assert not (tmp_path / "chart.png").exists()


def test_a_chart_needs_its_figures(tmp_path: Path) -> None:
    """A chart of what is not measured is refused."""
    ended = run("renew", "--chart", str(tmp_path / "chart.png"))
    assert ended.returncode == 2
    assert "--chart draws what hot-key measures" in ended.stderr


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
