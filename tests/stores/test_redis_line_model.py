"""Any schedule of those who wait in a line, against a line on paper."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from celery_locks.lease import Busy, Claim, Lease
from celery_locks.stores.base import Waiting, Wake
from celery_locks.stores.redis import scripts
from celery_locks.stores.redis.calls import Call
from celery_locks.ticket import Stance, Ticket
from tests.stores.line_on_paper import NAMES, Job, OnPaper
from tests.stores.redis_stores import LINE, LOCK, opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores.redis import RedisStore
    from tests.servers.redis import RedisServer

AWAY = 4 * 10**15
#: Where all who wait in a slot hear what is said to them.
HOME, HOMES = "0a1b2c3d", f"{LOCK}:homes"


class Line(OnPaper, RuleBasedStateMachine):
    """The verbs in any order. Time passes only when a rule says so: what ends by itself is made to last."""

    def __init__(self, client: Any, store: RedisStore) -> None:
        super().__init__()
        self.client = client
        self.store = store
        self.echo = 0
        client.flushall()
        self.slots = store.listen(HOME)

    # What happens.

    @rule(name=st.sampled_from(NAMES), stance=st.sampled_from(Stance), again=st.booleans(), heir=st.booleans())
    def ask(self, name: str, stance: Stance, *, again: bool, heir: bool) -> None:
        """Acquire, and once more when the answer was lost: the second answer is the one that is heard.

        The key may be handed over to an heir.
        """
        job = self.jobs[name]
        self.echo += 1
        place = (HOME, self.echo) if heir else ()
        claim = Claim("wallet", job.owner, 3000.0, ticket=Ticket(job.ticket, stance, *place))
        if job is self.holder:
            answer = self.store.acquire(claim)
            assert isinstance(answer, Lease)
            assert answer.fence == self.fence
            return
        if again:
            self.store.acquire(claim)
        answer = self.store.acquire(claim)
        if self.may_take(job):
            assert isinstance(answer, Lease), answer
            assert answer.fence > self.fence
            self.holder, self.kept, self.fence, job.at = job, None, answer.fence, ""
        else:
            assert isinstance(answer, Busy), answer
            self._lined_up(job, answer, stance)
            job.heir = self.echo if heir and answer.present else 0

    def _lined_up(self, job: Job, busy: Busy, stance: Stance) -> None:
        if not (self.holder or self.kept):
            self.call_next()
        assert busy.holder == (self.holder and self.holder.owner)
        self._dated(job, busy)
        assert job.date
        ahead = sum(other.at == "present" and (other.date or 0) < job.date for other in self.jobs.values())
        assert busy.present == (stance is Stance.WAITS or (stance is Stance.WAITS_IF_NEXT and ahead == 0))
        job.at, job.recent = "present" if busy.present else "away", True
        if job.at == "away":
            job.left = int(self.client.zscore(LINE, job.name)) - AWAY
            assert job.left >= max([job.date, *(other.left for other in self.away() if other.recent)])
        assert busy.place == ahead + (1 if busy.present else len(self.away()))

    @precondition(lambda self: self.kept)
    @rule(stance=st.sampled_from(Stance))
    def come(self, stance: Stance) -> None:
        """The one that was called comes."""
        assert self.kept
        self.ask(self.kept.name, stance, again=False, heir=False)

    @precondition(lambda self: self.holder)
    @rule()
    def finish(self) -> None:
        """The holder is done."""
        assert self.holder
        self.release(self.holder.name, again=False)

    @rule()
    def ask_without_ticket(self) -> None:
        """It gets what nobody waits for, and joins no line."""
        stranger = Job("eva")
        answer = self.store.acquire(Claim("wallet", "eva", 3000.0))
        free = self.may_take(stranger)
        assert isinstance(answer, Lease) is free, answer
        if isinstance(answer, Lease):
            assert answer.fence > self.fence
            self.fence = answer.fence
            assert self.store.force_release("wallet")
            self.call_next()
        elif not (self.holder or self.kept):
            self.call_next()

    @rule(name=st.sampled_from(NAMES), again=st.booleans())
    def release(self, name: str, *, again: bool) -> None:
        """The holder gives the key back. Whoever has not got it leaves the line, as one does that was interrupted."""
        job = self.jobs[name]
        for _ in range(1 + again):
            held = self.store.release(Claim("wallet", job.owner, 3000.0, ticket=Ticket(job.ticket)))
        assert held is (job is self.holder)
        echo = self.gone(job)
        if self.holder and echo:
            wake = next(wake for wake in self._said() if wake.fence)
            assert (wake.echo, wake.ticket.partition("-")[2]) == (echo, self.holder.name)
            assert wake.fence > self.fence
            self.fence = wake.fence

    def _said(self) -> Iterator[Wake]:
        while True:
            yield from wait_until(lambda: self.slots.heard(0.1), "a wake")

    @rule(name=st.sampled_from(NAMES), again=st.booleans())
    def leave(self, name: str, *, again: bool) -> None:
        """It waits no longer."""
        job = self.jobs[name]
        for _ in range(1 + again):
            self.store.leave([Waiting("wallet", job.ticket)])
        if job is not self.holder:
            self.gone(job)

    @precondition(lambda self: any(job.date and job is not self.holder for job in self.jobs.values()))
    @rule(data=st.data(), again=st.booleans())
    def attend(self, data: st.DataObject, *, again: bool) -> None:
        """It arrives where it can start at once, or comes back after it was passed over."""
        job = data.draw(st.sampled_from([job for job in self.jobs.values() if job.date and job is not self.holder]))
        for _ in range(1 + again):
            look = self.store.attend([Waiting("wallet", job.ticket)])[0]
        if job is not self.kept:
            self.arrives(job)
            self.moved_on()
        assert look.turn is (job is self.kept)

    @precondition(lambda self: any(job.at == "" and job is not self.holder for job in self.jobs.values()))
    @rule(data=st.data(), again=st.booleans())
    def come_to_the_door(self, data: st.DataObject, *, again: bool) -> None:
        """It joins without having asked for the key, once, also when its answer is lost."""
        job = data.draw(st.sampled_from([j for j in self.jobs.values() if j.at == "" and j is not self.holder]))
        was_kept, came_before = bool(self.holder or self.kept), job.date
        for _ in range(1 + again):
            look = self.store.attend([Waiting("wallet", job.ticket)])[0]
        self._dated(job, look.busy)
        self.arrives(job)
        self.moved_on()
        assert look.turn is (job is self.kept)
        assert look.busy
        assert look.busy.holder == (self.holder and self.holder.owner)
        ahead = sum(other.at == "present" and (other.date or 0) < (job.date or 0) for other in self.jobs.values())
        # Whoever comes with a date has been told before.
        assert look.busy.place == (None if came_before else ahead + 1)
        assert was_kept or self.kept

    def _dated(self, job: Job, busy: Busy | None) -> None:
        """Its date is the one it had, or the latest."""
        assert busy
        assert busy.ticket
        date, _, name = busy.ticket.partition("-")
        assert name == job.name
        assert job.date in (None, int(date))
        assert job.date or all(int(date) > (other.date or 0) for other in self.jobs.values())
        job.date = int(date)

    @rule()
    def look(self) -> None:
        """Somebody sees whether the line stands still."""
        looks = self.store.attend([Waiting("wallet", ""), Waiting("wallet", "")])
        self.moved_on()
        assert [look.turn for look in looks] == [False, False]

    @rule(name=st.sampled_from(NAMES))
    def give_up(self, name: str) -> None:
        """No answer came, and a farewell is said: this try of it gets nothing, nor does it stand in line."""
        asked = self.jobs[name]
        if asked is self.holder:
            return
        claim = Claim("wallet", asked.owner, 3000.0, ticket=Ticket(asked.ticket))
        self.store._give_up([Call(scripts.RELEASE, self.store._names("wallet"), self.store._release_with(claim, 1))])
        self.gone(asked)
        assert self.store.acquire(claim) == Busy()
        if not self.may_take(asked):
            self.moved_on()
        asked.tries += 1

    @rule()
    def force(self) -> None:
        """An operator frees the key."""
        assert self.store.force_release("wallet") is (self.holder is not None)
        if self.holder:
            self.holder.tries, self.holder.date = self.holder.tries + 1, None
            self.holder = None
            self.call_next()

    @rule()
    def lease_or_window_ends(self) -> None:
        """The holder died, or the one that was called did not come: nobody says so."""
        self.client.delete(LOCK)
        if self.holder:
            self.holder.tries, self.holder.date = self.holder.tries + 1, None
        self.holder = self.kept = None

    @rule()
    def those_away_stay_away(self) -> None:
        """Nobody who has left is about to arrive any more."""
        # Each once: who has been away for an hour is forgotten.
        for job in self.away(recent=True):
            self.client.zincrby(LINE, -600_000_000, job.name)
            job.recent = False

    # What holds at any time.

    @invariant()
    def the_server_has_what_is_on_paper(self) -> None:
        """The lock is its holder's or kept for the one that was called; all who wait are in line, each in its place."""
        pipeline = self.client.pipeline(transaction=False)
        lock, line = pipeline.get(LOCK).zrange(LINE, 0, -1, withscores=True).execute()
        if self.holder:
            assert lock == f"{self.fence}:{self.holder.owner}"
        else:
            assert lock == (self.kept and f"~{self.kept.name}")
        waiting = {job.name: job for job in self.jobs.values() if job.at}
        assert {name for name, _ in line} == set(waiting)
        for name, score in line:
            job = waiting[name]
            assert {"called": score < 0, "present": score == job.date, "away": score >= AWAY}[job.at], (name, score)

    @invariant()
    def only_who_has_the_key_is_shown(self) -> None:
        """A key that is kept for somebody is held by nobody."""
        shown = self.store.inspect("wallet")
        assert (shown and shown.owner) == (self.holder and self.holder.owner)

    def teardown(self) -> None:
        """Whatever has happened: all who are present come to the key in their order, and nothing is left then."""
        self.slots.close()
        self.client.delete(HOMES)
        self.lease_or_window_ends()
        self.pass_over()
        self.those_away_stay_away()
        expected = [job.name for job in self.line()]
        served = []
        for _ in range(len(NAMES)):
            self.store.attend([Waiting("wallet", "")])
            lock = self.client.get(LOCK)
            if lock is None:
                break
            job = self.jobs[lock[1:]]
            answer = self.store.acquire(Claim("wallet", f"last {job.name}", 3000.0, ticket=Ticket(job.ticket)))
            assert isinstance(answer, Lease)
            served.append(job.name)
            assert self.store.release(answer.claim)
        assert served == expected
        self.store.leave([Waiting("wallet", job.ticket) for job in self.jobs.values()])
        remembered = {name for name in self.client.keys("*") if ":stats:{" in name} | {f"{LOCK}:conflicts"}
        assert set(self.client.keys("*")) - remembered <= {f"{LOCK}:fence"}


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who left stays about to arrive, and who asked an heir, for ten minutes: a busy machine may pause the test."""
    assert "LATELY = 3000000" in scripts.ACQUIRE.text
    for name in ("ACQUIRE", "RELEASE", "FORCE_RELEASE", "ATTEND", "LEAVE"):
        text = getattr(scripts, name).text
        assert "IN_FLIGHT" in text
        changed = text.replace(" 500000,", " 600000000,").replace("LATELY = 3000000", "LATELY = 600000000")
        assert changed != text
        sha = hashlib.sha1(changed.encode(), usedforsecurity=False).hexdigest()
        monkeypatch.setattr(scripts, name, scripts.Script(changed, sha))


@pytest.mark.usefixtures("lasting")
def test_no_schedule_disagrees_with_a_line_on_paper(redis_server: RedisServer) -> None:
    """One at a time, in order, nobody forgotten and nothing left, whatever is said, repeated, lost or late."""
    with redis_server.client() as client, opened(f"{redis_server.url}?claim_window=600") as store:
        # To find the shortest schedule that fails add Phase.shrink, which may take minutes.
        checked = settings(
            max_examples=300, stateful_step_count=30, deadline=None, phases=[Phase.generate], database=None
        )
        run_state_machine_as_test(lambda: Line(client, store), settings=checked)
