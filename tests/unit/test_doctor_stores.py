"""The doctor on stores, without a server: clocks and disks that cannot be had are the smallest fakes."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from celery_locks import doctor
from celery_locks.doctor import clocks, files, redis, redlock, sql, store, tasks
from celery_locks.doctor.finding import SILENT, Hazard
from celery_locks.doctor.ward import Ahead, AppCase, Locked, StoreCase
from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Claim, Lease
from celery_locks.stores import open_store
from celery_locks.stores.operations import Served, Server
from tests.commands import celery_locks
from tests.unit.bank import app, task, withdraw
from tests.unit.fakes import FaultyStore

PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"
HAZARDS = [each for room in (tasks, store, clocks, redis, sql, redlock, files) for each in vars(room).values()]


def codes(case: StoreCase) -> list[str]:
    return [finding.code for finding in doctor.of_store(case)]


def locked(**options) -> Locked:
    made = task(withdraw, **options)._get_current_object()
    return Locked(made, made._plan)


@pytest.fixture
def database(tmp_path):
    opened = open_store(f"sql+sqlite:///{tmp_path}/locks.db")
    yield opened
    opened.close()


def test_a_store_as_it_should_be_has_no_finding(tmp_path, database):
    """A table, and files on a disk of this machine."""
    assert codes(StoreCase("sql", database, [locked()])) == []
    assert celery_locks(f"file://{tmp_path}/locks", "doctor").code == 0


def test_a_store_that_is_away_is_one_finding():
    """Exit code 3, and nothing else is asked of it."""
    ended = celery_locks("redis://:secret@127.0.0.1:1/0", "doctor", "--json")
    assert (ended.code, [said["code"] for said in ended.said]) == (3, ["CL001"])
    assert "secret" not in ended.out


def test_a_ttl_shorter_than_three_round_trips(clock):
    """As measured here: the middle one of five."""
    far = FaultyStore(clock)
    case = StoreCase("far", far, [locked(lock_ttl=1.2), locked(lock_ttl=30)], clock=clock)
    for seconds in (0.0, 0.5, 0.1, 0.9, 0.5, 0.4):
        far.delay("inspect", seconds)
    [finding] = doctor.of_store(case)
    assert (finding.code, finding.mend) == ("CL002", "lock_ttl = 10 or more, or a store that is nearer")
    assert codes(case) == []


def test_a_clock_that_is_not_this_machines(database):
    """Two seconds apart is too much, and on which side is said."""
    for ahead, said in ((-3600, "3600.0 s ahead of"), (3600, "3600.0 s behind")):
        case = StoreCase("sql", database, now=lambda ahead=ahead: time.time() + ahead)
        [finding] = doctor.of_store(case)
        assert (finding.code, said in finding.what) == ("CL004", True)
    assert codes(StoreCase("sql", database, now=lambda: time.time() + 1)) == []


def test_a_worker_whose_clock_is_not_the_stores(database):
    """It is compared with the store, whatever this machine's clock says; the way of both questions is no difference."""
    for here in (0, 3600):
        case = StoreCase("sql", database, now=lambda here=here: time.time() + here)
        clocks = {"right": -here, "near": 1.9 - here, "slow": 4 - here, "ahead": 30.5 - here, "behind": -2.5 - here}
        slow = {name: Ahead(ahead - (name == "slow") * 3, ahead + 0.01) for name, ahead in clocks.items()}
        *others, finding = doctor.of_store(replace(case, clocks=slow))
        assert (finding.code, len(others)) == ("CL004", 1 if here else 0)
        assert re.sub(r"\.\d", "", finding.what).endswith(": ahead is 30 s ahead of it, behind is 2 s behind it")


def test_workers_whose_clocks_no_store_has():
    """They are compared with this machine's."""
    found = doctor.of_app(AppCase(app(), [], clocks={"celery@web1": Ahead(-60, -59), "celery@web2": Ahead(-1, 1)}))
    assert [each.what for each in found] == [
        "bank: clocks of workers differ from this machine's: celery@web1 is 59.5 s behind it"
    ]


def test_a_fence_newer_than_the_clock(tmp_path):
    """A clock was set back since the key was taken: here that of the machine whose files they are."""
    opened = open_store(f"file://{tmp_path}/locks")
    assert isinstance(opened.acquire(Claim("wallet:42", "me", 30.0)), Lease)
    assert codes(StoreCase("files", opened)) == []
    [finding] = doctor.of_store(StoreCase("files", opened, now=lambda: time.time() - 3600))
    assert finding.code == "CL003"
    assert "wallet:42" in finding.what
    opened.close()


@pytest.mark.parametrize(
    ("kind", "found"),
    [("nfs4", ["CL501"]), ("fuse.sshfs", ["CL501"]), ("cifs", ["CL501"]), ("ext4", []), ("tmpfs", [])],
)
@pytest.mark.parametrize("form", ["file://{}", "sql+sqlite:///{}/locks.db"])
def test_lock_files_on_a_disk_of_the_network(tmp_path, monkeypatch, kind, found, form):
    """By the kernel's table of mounts, for none can be mounted here."""
    folder = tmp_path / "my locks"
    written = str(folder).replace(" ", "\\040")
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nold {written} ext4 rw 0 0\nbox:/x {written} {kind} rw 0 0\n")
    monkeypatch.setattr(files, "MOUNTS", mounts)
    folder.mkdir()
    opened = open_store(form.format(str(folder).replace(" ", "%20") if form.startswith("file") else folder))
    assert codes(StoreCase("files", opened)) == found
    monkeypatch.setattr(files, "MOUNTS", tmp_path / "none")
    assert codes(StoreCase("files", opened)) == []
    opened.close()


class _Told(FaultyStore, Served):
    """A store that says of its servers what it is told to."""

    def __init__(self, clock, *servers: Server) -> None:
        super().__init__(clock)
        self.told = servers

    def servers(self):
        return [*self.told]

    def strangers(self, most):
        raise StoreUnavailable(f"not allowed to see {most} names")


def test_a_replica_that_lags_is_behind(clock):
    """By ten seconds: to stop a real one takes as long."""
    info = {"aof_enabled": "1", "slave0": "ip=10.0.0.2,port=6379,state=online,offset=1,lag={}"}
    for lag, found in ((10, []), (11, ["CL203"])):
        server = Server("here", {**info, "slave0": info["slave0"].format(lag)})
        others = [Server("there", {"aof_enabled": "1", "run_id": each}) for each in "ab"]
        got = codes(StoreCase("redlock", _Told(clock, server, *others)))
        assert [code for code in got if code != SILENT.code] == found


def test_what_could_not_be_looked_at_is_said(clock):
    """As a note: the rest is examined."""
    case = StoreCase("redlock", _Told(clock, *(Server("x", {"run_id": each}) for each in "abcd")))
    findings = {finding.code: finding for finding in doctor.of_store(case)}
    assert findings.keys() == {"CL401", SILENT.code}
    assert (findings[SILENT.code].severity, "not allowed to see" in findings[SILENT.code].what) == ("note", True)


def test_every_hazard_is_in_the_docs():
    """Under its own anchor, with its severity and the line that mends it; and no other is."""
    hazards = [SILENT, *(each for each in HAZARDS if isinstance(each, Hazard))]
    text = PAGE.read_text(encoding="utf-8")
    assert {code.lower() for code in re.findall(r"^### (CL\d+)$", text, re.MULTILINE)} == {
        each.code.lower() for each in hazards
    }
    assert len({each.code for each in hazards}) == len(hazards)
