"""`python -m benchmarks [name ...] [--quick] [--json FILE]`: ratios from one run, with the targets beside them."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks import (
    etcd,
    importing,
    layers,
    machine,
    memory,
    redlock,
    renewing,
    sessions,
    sql,
    throughput,
    uncontended,
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
    "etcd": etcd.run,
    "zookeeper": zookeeper.run,
    "redlock": redlock.run,
    "sql": sql.run,
    "profile": layers.run,
}
#: A breakdown for whoever tunes: it has no targets, and is run when it is named.
WHEN_NAMED = {"profile"}


def main() -> None:
    """Exits with 0 however fast or slow the machine is: only something broken is an error."""
    asked = _arguments()
    # Asked to end, it stops its server and its worker first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory, own_server(Path(directory)) as url:
        facts = machine.facts(url)
        print("\n".join(f"{name + ':':14}{fact}" for name, fact in facts.items()))
        parts = [_run(name, url, quick=asked.quick) for name in asked.names or _usual()]
    print(f"\n{summary(parts)}")
    if asked.quick:
        print("--quick takes too few rounds to judge by: it shows that everything runs")
    if asked.json:
        report = {"machine": facts, "quick": asked.quick, "benchmarks": [part.plain() for part in parts]}
        asked.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What the locks cost, as ratios.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}; all but profile")
    parser.add_argument("--quick", action="store_true", help="a few rounds each, to see that everything runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(BENCHMARKS):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}: choose from {', '.join(BENCHMARKS)}")
    return asked


def _usual() -> list[str]:
    return [name for name in BENCHMARKS if name not in WHEN_NAMED]


def _run(name: str, url: str, *, quick: bool) -> Part:
    part = BENCHMARKS[name](url, quick=quick)
    print(f"\n{part.text()}", flush=True)
    return part


if __name__ == "__main__":
    main()
