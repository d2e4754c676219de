"""The dashboard for Grafana asks for what is exported, and has what Grafana looks for in such a file."""

from __future__ import annotations

import itertools
import json
import re
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from celery_locks import Locks
from celery_locks.instrumentation import prometheus
from celery_locks.instrumentation.measures import COUNTS, DURATIONS, GAUGES
from celery_locks.lease import Claim, new_owner
from celery_locks.stores.memory import MemoryStore
from celery_locks.stores.operations import Queues
from tests.unit.test_metrics import happens

FILE = Path(__file__).parents[2] / "docs" / "grafana" / "celery-locks.json"
#: What Grafana puts in the place of its variables.
GIVEN = ("$task", "$__rate_interval", "$__range")
COLUMNS = 24
#: The parts of a variable in Grafana's schema (@grafana/schema 13.2, Dashboard) that this one may have use for.
OF_VARIABLES = {
    *("allValue", "current", "datasource", "description", "hide", "includeAll", "label", "multi", "name", "options"),
    *("query", "refresh", "regex", "skipUrlSync", "sort", "type"),
}


@pytest.fixture(scope="module")
def dashboard():
    return json.loads(FILE.read_text("utf-8"))


@pytest.fixture(scope="module")
def exposed():
    """The labels of each name, as a scrape reads them from a process that serves all that can be served."""
    registry = CollectorRegistry()
    stop = prometheus.install(registry)
    with closing(Locks(_Lined())) as locks:
        prometheus.observe(locks, registry)
        locks.store.acquire(Claim("wallet:1", new_owner("pay[1]"), 30.0))
        happens()
        families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    stop()
    found = {}
    for sample in itertools.chain.from_iterable(family.samples for family in families):
        found.setdefault(sample.name, set()).update(sample.labels)
    return found


class _Lined(MemoryStore, Queues):
    def line(self, _key, _most=100):
        return []

    def waiting(self, keys):
        return [0 for _ in keys]


def _targets(dashboard):
    return [(panel, target) for panel in dashboard["panels"] for target in panel["targets"]]


def _asked(expression):
    """Each name in an expression, with the labels by which it is chosen."""
    for name, chosen in re.findall(r"\b(celery_locks_\w+)(?:\{([^}]*)\})?", expression):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", chosen))


def test_all_that_it_asks_for_is_exported(dashboard, exposed):
    """Every name and every label of every expression is one of a real exposition."""
    for panel, target in _targets(dashboard):
        asked = list(_asked(target["expr"]))
        assert asked, panel["title"]
        grouped = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
        for name, labels in asked:
            assert name in exposed, (panel["title"], name)
            assert labels | grouped <= exposed[name], (panel["title"], target["expr"])
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= grouped, panel["title"]


def test_all_that_is_exported_is_shown(dashboard):
    """A new measure has to be given a place."""
    exported = (
        {f"{measure.name}_total" for measure in COUNTS} | {f"{each.name}_bucket" for _, each in DURATIONS} | {*GAUGES}
    )
    shown = {name for _, target in _targets(dashboard) for name, _ in _asked(target["expr"])}
    assert shown == {f"celery_locks_{name}" for name in exported}


def test_it_can_be_used_with_any_source_and_any_task(dashboard):
    """Both are chosen at the top: no id of a source is written in, and no expression has a variable that is none."""
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    assert (variables["task"]["type"], variables["task"]["allValue"]) == ("query", ".*")
    sources = [each["datasource"] for pair in _targets(dashboard) for each in pair]
    assert all(
        source == {"type": "prometheus", "uid": "${datasource}"}
        for source in [*sources, variables["task"]["datasource"]]
    )
    for panel, target in _targets(dashboard):
        assert set(re.findall(r"\$\w+", target["expr"])) <= set(GIVEN), panel["title"]
        assert all("task" in labels or "_beat_" in name for name, labels in _asked(target["expr"])), panel["title"]


def test_it_has_what_a_dashboard_needs(dashboard):
    """The parts that Grafana's schema names, ids of their own, and no panel over another."""
    assert {"uid", "title", "schemaVersion", "panels", "templating", "time", "annotations"} <= dashboard.keys()
    assert (dashboard["schemaVersion"] >= 36, len(dashboard["uid"]) <= 40, "id" in dashboard) == (True, True, False)
    for variable in dashboard["templating"]["list"]:
        assert {"name", "type"} <= variable.keys() <= OF_VARIABLES
        assert {"text", "value"} <= variable.get("current", {"text": "", "value": ""}).keys()
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        assert {"type", "title", "description", "gridPos", "fieldConfig", "options", "targets"} <= panel.keys()
        assert panel["type"] in {"stat", "timeseries"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        place = panel["gridPos"]
        cells = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert place["x"] + place["w"] <= COLUMNS
        assert not cells & taken, panel["title"]
        taken |= cells
