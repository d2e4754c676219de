"""The benchmarks run: each of them, to its end, with figures that can be read. How fast is never a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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


class Report(NamedTuple):
    """What a run of several benchmarks gave."""

    out: str
    figures: dict[str, dict[str, dict[str, Any]]]
    chart: Path


def reported(folder: Path, *asked: str) -> Report:
    """All of these, in a few rounds. Whatever the figures are, the exit code is 0."""
    report, chart = folder / "figures.json", folder / "chart.png"
    ended = run(*asked, "--quick", "--json", str(report))
    assert ended.returncode == 0, ended.stderr
    return Report(ended.stdout, figures_of(report), chart)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Those that measure one thing each, named one by one."""
    return reported(tmp_path_factory.mktemp("alone"), *ALONE)


@pytest.fixture(scope="module")
def contention(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Those of jobs that meet their key taken, named as a group, and their picture."""
    folder = tmp_path_factory.mktemp("contention")
    drawn = ["--chart", str(folder / "chart.png")] if find_spec("matplotlib") else []
    return reported(folder, "contention", *drawn)


@pytest.mark.parametrize(("named", "names"), [("alone", ALONE), ("contention", CONTENTION)])
def test_every_benchmark_runs(request: pytest.FixtureRequest, named: str, names: list[str]) -> None:
    """All of them give figures, and JSON has those that are printed."""
    report: Report = request.getfixturevalue(named)
    assert list(report.figures) == names
    assert all(report.figures[name] for name in names if all(program.find() for program in STORES.get(name, ())))
    assert all(what in report.out for part in report.figures.values() for what in part)


def test_the_hot_key_tells_the_ways_apart(contention: Report) -> None:
    """In no way do jobs overlap; ours are held to their targets, the others to none; the chart is a picture."""
    figures = contention.figures["hot-key"]
    assert [each["value"] for what, each in figures.items() if what.endswith("overlap")] == [0, 0, 0, 0]
    assert [each["target"] for what, each in figures.items() if what.endswith("busy")] == [">= 93", ">= 97", None, None]
    by_hand = figures["redis-py Lock, retry(countdown=1): re-queues a job"]["value"]
    assert by_hand, "no job found its key taken: this run proves nothing"
    assert not find_spec("matplotlib") or contention.chart.read_bytes().startswith(b"\x89PNG")


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


def test_targets_stand_beside_their_figures(alone: Report) -> None:
    """The targets for renewing are in the report, each with its verdict."""
    held = [figure for figure in alone.figures["renew"].values() if figure["target"]]
    assert len(held) == 3
    assert all(figure["met"] == (figure["value"] <= 1) for figure in held)


def test_an_unknown_benchmark_is_an_error() -> None:
    """A slip in a name is refused, with the names there are."""
    ended = run("trhoughput")
    assert ended.returncode == 2
    assert "unknown benchmark trhoughput: choose from uncontended, " in ended.stderr
