"""For how long a session in ZooKeeper is believed in, against a model of what its servers know."""

from __future__ import annotations

import random
from itertools import count

import pytest

from celery_locks.stores.zookeeper.proof import EVERY, HEARSAY, MOST, Proof

GRANTED = 4.0
#: Sessions are two ticks long at least, and the leader asks each half tick.
HALF_TICK = GRANTED / 4


class Servers:
    """A follower that tells a leader whom it heard when it is asked, which is each half tick."""

    def __init__(self, asks_at: float) -> None:
        self.asks_at = asks_at
        self.touched = 0.0
        self._heard = False

    def hear(self, now: float) -> None:
        """The follower hears of the session."""
        self.run(now)
        self._heard = True

    def run(self, now: float) -> None:
        """Let the leader ask whenever it was time to until now."""
        while self.asks_at <= now:
            if self._heard:
                self.touched = self.asks_at
            self._heard = False
            self.asks_at += HALF_TICK


@pytest.mark.parametrize("seed", range(100))
def test_a_session_is_never_believed_in_for_longer_than_the_leader_keeps_it(seed: int) -> None:
    """Whenever we speak, and whenever the leader asks: it counts the session's time from no earlier than we think."""
    chance = random.Random(seed)
    servers, proof = Servers(asks_at=chance.uniform(0, HALF_TICK)), Proof()
    proof.opened(0.0, chance.uniform(0, 0.05), GRANTED)
    now = 0.05
    for number in range(1, 200):
        now += chance.choice((0.01, 0.3, HALF_TICK + 0.02, HALF_TICK * 0.97, chance.uniform(0, GRANTED)))
        if now > servers.touched + GRANTED:
            break
        took, of_the_leader = chance.uniform(0, 0.02), chance.random() < 0.6
        proof.asked(number, now, of_the_leader=of_the_leader)
        servers.hear(now + took / 2)
        now += took
        proof.answered(number, now)
        assert proof.until <= servers.touched + GRANTED


def test_who_speaks_in_time_believes_for_half_of_the_sessions_time() -> None:
    """As long as answers come there is always more than half of it left."""
    proof = opened()
    now = 0.0
    for number in range(1, 100):
        now += proof.due(now)
        proof.asked(number, now, of_the_leader=True)
        proof.answered(number, now + 0.01)
        assert proof.until - now > GRANTED * (1 - HEARSAY - EVERY) - 0.02


def test_a_word_after_a_long_silence_proves_little() -> None:
    """A process that was frozen is heard again: the leader may still count from before."""
    proof = opened()
    proof.asked(1, 3.9, of_the_leader=True)
    proof.answered(1, 3.91)
    assert proof.until == GRANTED


def test_what_any_server_answers_is_no_proof() -> None:
    """Pings and looks prolong nothing; that they were heard counts once the leader has spoken."""
    proof = opened()
    for number in range(1, 9):
        proof.asked(number, number / 4, of_the_leader=False)
        proof.answered(number, number / 4 + 0.01)
    assert proof.until == GRANTED
    proof.asked(9, 2.1, of_the_leader=True)
    assert proof.until == GRANTED
    proof.answered(9, 2.2)
    assert proof.until == GRANTED + 0.75


def test_a_refused_word_is_no_proof() -> None:
    """A session that the leader has ended is told so, and not prolonged."""
    proof = opened()
    proof.asked(1, 3.0, of_the_leader=True)
    proof.answered(1, 3.1, well=False)
    assert proof.until == GRANTED


def test_of_two_pings_the_first_is_answered_first() -> None:
    """They have one number: what was heard is not the one that left last."""
    proof = opened()
    proof.asked(-2, 1.0, of_the_leader=False)
    proof.asked(-2, 2.0, of_the_leader=False)
    proof.answered(-2, 2.1)
    proof.asked(1, 3.9, of_the_leader=True)
    proof.answered(1, 3.9)
    assert proof.until == GRANTED + 1.0


def test_a_server_that_owes_an_answer_is_mute() -> None:
    """The oldest request counts, and no ping."""
    proof = opened()
    assert not proof.is_mute(100)
    proof.asked(1, 1.0, of_the_leader=False)
    proof.asked(2, 1.9, of_the_leader=True)
    assert not proof.is_mute(1.9)
    assert proof.is_mute(2.1)
    proof.asked(-2, 2.0, of_the_leader=False)
    proof.answered(-2, 2.1)
    assert proof.is_mute(2.1)
    proof.opened(2.2, 2.3, GRANTED)
    assert not proof.is_mute(100)


def test_a_server_that_answers_much_is_not_mute() -> None:
    """Of many requests that left together the last may be answered late, as long as answers come."""
    proof = opened()
    for number in range(1, 6):
        proof.asked(number, 1.0, of_the_leader=False)
    for number in range(1, 6):
        assert not proof.is_mute(1.0 + number * 0.9)
        proof.answered(number, 1.0 + number * 0.9)


def test_what_is_remembered_has_an_end() -> None:
    """However much is asked, and by whomever it is answered."""
    proof = opened()
    for number, now in zip(range(1, 5000), count(step=0.05)):
        proof.asked(number, now, of_the_leader=False)
        proof.answered(number, now)
    assert len(proof._heard) == MOST
    assert not proof._asked


def opened() -> Proof:
    """A session that was opened at 0."""
    proof = Proof()
    proof.opened(0.0, 0.0, GRANTED)
    return proof
