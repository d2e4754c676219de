"""Which job held the key when, as a picture. It needs matplotlib, which nothing else here does."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.contended import Run

MISSING = "--chart needs matplotlib: pip install matplotlib, or the extra [bench]"
#: From light to dark, in the order in which the jobs were sent: one that jumps the line shows.
COLOURS = "viridis_r"
INK, EMPTY = "#24292f", "#f6f8fa"


def can_draw() -> bool:
    return find_spec("matplotlib") is not None


def draw(title: str, rows: Mapping[str, list[Run]], path: Path) -> None:
    """A row for each way; a bar for each job, as long as it held the key."""
    import_module("matplotlib").use("Agg")
    pyplot = import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(len(rows), sharex=True, figsize=(9, 1.2 + 0.7 * len(rows)), layout="constrained")
    figure.suptitle(title, x=0.008, ha="left", fontsize=10, fontweight="bold", color=INK)
    for axis, (name, runs) in zip(axes, rows.items(), strict=True):
        _row(axis, name, runs, pyplot.get_cmap(COLOURS))
    axes[-1].set_xlabel("seconds since the first job began", fontsize=9, color=INK)
    axes[-1].tick_params(bottom=True, labelbottom=True)
    _legend(figure, axes, pyplot)
    figure.savefig(path, format="png", dpi=160, facecolor="white")
    pyplot.close(figure)


def _row(axis: Any, name: str, runs: list[Run], colours: Any) -> None:
    start = runs[0].began
    spans = [(run.began - start, run.ended - run.began) for run in runs]
    axis.broken_barh(spans, (0, 1), facecolors=[colours(run.job / len(runs)) for run in runs], linewidth=0)
    axis.set_title(name, loc="left", fontsize=9, color=INK, pad=3)
    axis.set(ylim=(0, 1), yticks=[], facecolor=EMPTY)
    axis.margins(x=0)
    axis.tick_params(bottom=False, labelbottom=False, colors=INK, labelsize=8)
    for side in axis.spines.values():
        side.set_visible(False)


def _legend(figure: Any, axes: Any, pyplot: Any) -> None:
    scale = pyplot.cm.ScalarMappable(cmap=COLOURS, norm=pyplot.Normalize(0, 1))
    bar = figure.colorbar(scale, ax=axes, shrink=0.9, aspect=30, pad=0.015, ticks=[0, 1])
    bar.ax.set_yticklabels(["sent first", "sent last"], fontsize=8, color=INK)
    bar.ax.invert_yaxis()
    bar.outline.set_visible(False)
