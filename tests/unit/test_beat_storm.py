"""Whatever strikes beats and their store, and whenever: each due time is sent, and all its messages have one id."""

from __future__ import annotations

import contextlib
import random
from collections import defaultdict

import pytest

from tests.unit.beats import Beats, store_of, unreachable

#: Everything that was missed is sent: no storm is long enough to count as one run.
PATIENT = {"lock_beat_catch_up": 1e6}


class Killed(BaseException):
    """A process that is no more."""


class Storm:
    """Three beats, and what befalls them."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.beats = Beats()
        self.crew = [self.beats.new(**PATIENT) for _ in range(3)]
        #: So many messages may have come twice.
        self.doubts = 0

    def blow(self) -> None:
        """One more calamity, and some time."""
        of_the_store = [self.outage, self.late]
        self.chance.choice([self.kill, self.end, self.pause, *of_the_store, self.broker, self.strike, self.strike])()
        self.run(self.chance.uniform(0, 25))

    def run(self, seconds: float, *without) -> None:
        """Let those that live tick, and are not in the middle of one. One that is killed meanwhile is replaced."""
        until = self.beats.clock.now + seconds
        while self.beats.clock.now < until:
            awake = [each for each in self.crew if each not in without and not each._is_ticking]
            with contextlib.suppress(Killed):
                self.beats.run(until - self.beats.clock.now, *awake)
            for each in [each for each in self.crew if each.app.is_off]:
                self.kill(each)

    def kill(self, beat=None) -> None:
        """Its successor knows nothing, and has another clock."""
        self.beats.ahead = self.chance.uniform(-3, 3)
        gone = beat or self.chance.choice(self.crew)
        self.crew[self.crew.index(gone)] = self.beats.new(**PATIENT)

    def end(self) -> None:
        """One gives back what it has."""
        gone = self.chance.choice(self.crew)
        gone.close()
        self.kill(gone)

    def pause(self) -> None:
        """The others go on without one."""
        self.run(self.chance.uniform(0, 40), self.chance.choice(self.crew))

    def outage(self) -> None:
        """Some cannot reach the store, from between any two of their requests on."""
        struck = self.chance.sample(self.crew, self.chance.randint(1, 3))
        self.doubts += len(struck)
        for each in struck:
            store_of(each).answers = self.chance.randint(0, 8)
        self.run(self.chance.uniform(0, 30))
        for each in struck:
            store_of(each).is_down, store_of(each).answers = False, None

    def late(self) -> None:
        """Some writes are not answered, and arrive when much else has happened."""
        struck = self.chance.sample(self.crew, self.chance.randint(1, 3))
        for each in struck:
            store_of(each).withholds = self.chance.randint(1, 3)
            self.doubts += store_of(each).withholds
        self.run(self.chance.uniform(0, 10))
        if self.chance.random() < 0.5:
            self.strike()
            self.run(self.chance.uniform(0, 30))
        for each in struck:
            self.chance.shuffle(store_of(each).withheld)
            store_of(each).deliver()

    def broker(self) -> None:
        """It cannot be reached for a while."""
        self.beats.strikes += [unreachable] * self.chance.randint(1, 10)

    def strike(self) -> None:
        """The leader is killed, or paused, while it publishes: before the message is out, or after that."""
        where = self.chance.choice([self.beats.strikes, self.beats.strikes_after])
        where.append(self.chance.choice([self._killed, self._paused]))
        self.doubts += 1

    def _killed(self, entry) -> None:
        entry.app.is_off = True
        raise Killed

    def _paused(self, _) -> None:
        self.run(self.chance.uniform(0, 40))


@pytest.mark.parametrize("seed", range(25))
def test_in_a_storm_each_due_time_is_sent_under_one_id(seed: int) -> None:
    """None is left out, none has two ids, and no more came twice than were in doubt."""
    storm = Storm(seed)
    for _ in range(15):
        storm.blow()
    storm.beats.strikes.clear()
    storm.beats.strikes_after.clear()
    storm.run(60)
    ids = defaultdict(set)
    for second, job in zip(storm.beats.seconds(), storm.beats.sent, strict=True):
        ids[second].add(job.task_id)
    assert sorted(ids) == [float(second) for second in range(1, int(max(ids)) + 1)]
    assert max(ids) >= (storm.beats.clock.now - 1000) - 9
    assert {len(found) for found in ids.values()} == {1}
    assert 0 <= len(storm.beats.sent) - len(ids) <= storm.doubts
