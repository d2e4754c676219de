"""`python -m benchmarks [name ...] [--quick] [--json FILE] [--chart FILE]`: ratios from one run, and their targets."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import (
    chart,
    contention,
    crowds,
    etcd,
    fence_django,
    fence_redis,
    fence_sqlalchemy,
    importing,
    keeping,
    layers,
    lines,
    machine,
    memory,
    redlock,
    renewing,
    sessions,
    sql,
    throughput,
    uncontended,
    waiters,
    zookeeper,
)
from benchmarks.report import Part, summary
from benchmarks.server import own_server

BENCHMARKS = {
    "uncontended": uncontended.run,
    "sessions": sessions.run,
    "throughput": throughput.run,
    "import": importing.run,
    "memory": memory.run,
    "renew": renewing.run,
    "kept": keeping.run,
    "hot-key": contention.run,
    "short-jobs": crowds.one_key,
    "many-keys": crowds.many_keys,
    "line-length": lines.run,
    "many-lines": waiters.run,
    "etcd": etcd.run,
    "zookeeper": zookeeper.run,
    "redlock": redlock.run,
    "sql": sql.run,
    "fence-sqlalchemy": fence_sqlalchemy.run,
    "fence-django": fence_django.run,
    "fence-redis": fence_redis.run,
    "profile": layers.run,
}
#: A breakdown for whoever tunes: it has no targets, and is run when it is named.
WHEN_NAMED = {"profile"}
#: One name for several.
GROUPS = {"contention": ["hot-key", "short-jobs", "many-keys", "line-length", "many-lines"]}


def main() -> None:
    """Exits with 0 however fast or slow the machine is: only something broken is an error."""
    asked = _arguments()
    # Asked to end, it stops its server and its worker first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory, own_server(Path(directory)) as url:
        facts = machine.facts(url)
        print("\n".join(f"{name + ':':14}{fact}" for name, fact in facts.items()))
        parts = [_run(name, url, asked) for name in asked.names]
    print(f"\n{summary(parts)}")
    if asked.quick:
        print("--quick takes too few rounds to judge by: it shows that everything runs")
    if asked.json:
        report = {"machine": facts, "quick": asked.quick, "benchmarks": [part.plain() for part in parts]}
        asked.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What the locks cost, as ratios.")
    names = [*BENCHMARKS, *GROUPS]
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(names)}; all but profile")
    parser.add_argument("--quick", action="store_true", help="a few rounds each, to see that everything runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw what hot-key measures there, as PNG")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(names):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}: choose from {', '.join(names)}")
    asked.names = _spelled_out(asked.names) or [name for name in BENCHMARKS if name not in WHEN_NAMED]
    if asked.chart and (wrong := _cannot_draw(asked.names)):
        parser.error(wrong)
    return asked


def _spelled_out(names: list[str]) -> list[str]:
    return list(dict.fromkeys(each for name in names for each in GROUPS.get(name, [name])))


def _cannot_draw(names: list[str]) -> str | None:
    if "hot-key" not in names:
        return "--chart draws what hot-key measures: name it, or contention"
    return None if chart.can_draw() else chart.MISSING


def _run(name: str, url: str, asked: argparse.Namespace) -> Part:
    benchmark = partial(contention.run, picture=asked.chart) if name == "hot-key" else BENCHMARKS[name]
    part = benchmark(url, quick=asked.quick)
    print(f"\n{part.text()}", flush=True)
    return part


if __name__ == "__main__":
    main()
