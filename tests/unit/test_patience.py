"""How a claim waits where it asked: in line, for a word of the store, or looking again."""

from __future__ import annotations

import pytest

from celery_locks import patience
from celery_locks.lease import Busy, Claim, Lease
from celery_locks.patience import Patience, pauses
from celery_locks.roll import Waiter
from celery_locks.stores.base import Waiting, Wake, Watches
from celery_locks.ticket import Stance, Ticket
from tests.unit.fake_lines import FakeLines
from tests.unit.fakes import FakeClock, FaultyStore

KEY = "wallet:42"
TICKET = "1700000000000000-ann"


class WatchedStore(FaultyStore, Watches):
    """A store that can tell when a key may be free; here after so long as is planned, or never."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.watched: list[tuple[str, float]] = []
        self.free_in: list[float] = []

    def watch(self, key: str, seconds: float) -> None:
        self.watched.append((key, seconds))
        self._time.advance(min(seconds, self.free_in.pop(0)) if self.free_in else seconds)


def taken(store: FaultyStore, ttl: float = 1000.0) -> Busy:
    store.memory.acquire(Claim(KEY, "somebody", ttl))
    return ask(store)


def ask(store) -> Busy:
    answer = store.acquire(Claim(KEY, "ann", 30.0))
    assert isinstance(answer, Busy)
    return answer


@pytest.fixture
def watched(clock) -> WatchedStore:
    return WatchedStore(clock)


def waiting(store, clock, waker=None) -> Patience:
    return Patience(store, waker, clock, clock.sleep)


def test_a_store_that_tells_is_not_asked_again_and_again(watched, clock):
    """It is asked when it says that the key may be free, and never slept beside."""
    busy = taken(watched)
    clock.later(3.0, lambda: watched.memory.release(Claim(KEY, "somebody", 1.0)))
    watched.free_in = [3.0]
    watched.calls.clear()
    assert isinstance(waiting(watched, clock).wait(Claim(KEY, "ann", 30.0), busy, clock(), None), Lease)
    assert watched.watched == [(KEY, patience.NAP)]
    assert len(watched.called("acquire")) == 1
    assert clock.slept == []


def test_a_word_that_comes_too_early_is_no_lease(watched, clock):
    """It is asked, and watched again."""
    busy = taken(watched)
    watched.free_in = [0.5, 0.25]
    clock.later(2.0, lambda: watched.memory.release(Claim(KEY, "somebody", 1.0)))
    assert isinstance(waiting(watched, clock).wait(Claim(KEY, "ann", 30.0), busy, clock(), None), Lease)
    assert [seconds for _, seconds in watched.watched] == [patience.NAP] * 3


def test_a_watch_ends_with_the_time_to_wait_and_with_the_lease(watched, clock):
    """Nobody says that a lease ran out, and nobody waits past its deadline."""
    busy = taken(watched, ttl=3.0)
    assert isinstance(waiting(watched, clock).wait(Claim(KEY, "ann", 30.0), busy, clock(), 9.0), Lease)
    assert watched.watched == [(KEY, 3.0)]
    watched.watched.clear()
    answer = waiting(watched, clock).wait(Claim(KEY, "bob", 30.0), ask_as(watched, "bob"), clock(), 7.0)
    assert isinstance(answer, Busy)
    assert watched.watched == [(KEY, patience.NAP), (KEY, 2.0)]


def ask_as(store, owner: str) -> Busy:
    answer = store.acquire(Claim(KEY, owner, 30.0))
    assert isinstance(answer, Busy)
    return answer


def test_no_time_to_wait_is_none_at_all(watched, clock):
    """Neither a watch nor another try."""
    busy = taken(watched)
    watched.calls.clear()
    assert waiting(watched, clock).wait(Claim(KEY, "ann", 30.0), busy, clock(), 0.0) is busy
    assert (watched.watched, watched.calls) == ([], [])


def test_a_lease_that_has_just_ended_is_no_busy_loop(watched, clock):
    """A store that says 0 s is asked again a little later."""
    busy = taken(watched)._replace(remaining=0.0)
    waiting(watched, clock).wait(Claim(KEY, "ann", 30.0), busy, clock(), 1.0)
    assert watched.watched[0] == (KEY, 0.001)


def test_pauses_grow_and_are_spread_out():
    """From a few milliseconds to a quarter of a second, no two alike."""
    several = pauses()
    first = [next(several) for _ in range(40)]
    assert 0.0025 <= first[0] <= 0.005
    assert max(first) <= 0.25
    assert min(first[-20:]) >= 0.125
    assert len(set(first[-20:])) > 10


class LinedStore(FakeLines, FaultyStore):
    """Gives the answers that are planned, one for each claim."""

    def __init__(self, clock: FakeClock, *answers: object) -> None:
        FakeLines.__init__(self)
        FaultyStore.__init__(self, clock)
        self.answers = list(answers)
        self.asked: list[Claim] = []

    def acquire(self, claim):
        self.asked.append(claim)
        return self.answers.pop(0)


class Prompt:
    """A waker that calls those who stay at once."""

    def __init__(self, clock) -> None:
        self.clock = clock
        self.error: BaseException | None = None
        self.wake: Wake | None = None
        self.stayed: list[tuple[Waiting, float]] = []
        self.forgotten: list[str] = []

    def stay(self, place, call, seconds, asked):  # noqa: ARG002 - the waker's own verb
        self.stayed.append((place, seconds))
        if self.error:
            raise self.error
        call(place.ticket)
        return Waiter(place, call, wake=self.wake)

    def forget(self, ticket):
        self.forgotten.append(ticket)

    def await_told(self):
        self.awaited = list(self.forgotten)

    def home(self):
        return "0a1b"


STANDS = Busy("somebody", 8.0, 1, TICKET, present=True)
CLAIM = Claim(KEY, "ann", 30.0, ticket=Ticket("ann"))


def test_whoever_is_called_in_line_asks_with_the_date_it_has(clock):
    """And is forgotten by the waker, whatever the answer."""
    lease = Lease(CLAIM, 7, None)
    store, called = LinedStore(clock, STANDS, lease), Prompt(clock)
    assert Patience(store, called, clock, clock.sleep).wait(CLAIM, STANDS, clock(), None) is lease
    assert [claim.ticket for claim in store.asked] == [Ticket(TICKET, home="0a1b")] * 2
    assert called.stayed == [(Waiting(KEY, TICKET), 8.0)] * 2
    assert called.forgotten == [TICKET] * 2
    assert clock.slept == []


def test_a_deadline_takes_who_only_waits_here_out_of_line(clock):
    """Plain code does not come back."""
    store, called = LinedStore(clock), Prompt(clock)
    assert Patience(store, called, clock, clock.sleep).wait(CLAIM, STANDS, clock(), 0.0) == STANDS
    assert store.left == [Waiting(KEY, TICKET)]
    assert store.asked == []


def test_a_deadline_sends_away_who_goes_back_to_a_queue(clock):
    """It keeps its place in line, and says that it goes."""
    away = STANDS._replace(present=False)
    store, called = LinedStore(clock, away), Prompt(clock)
    claim = CLAIM._replace(ticket=Ticket("ann", Stance.WAITS_IF_NEXT))
    assert Patience(store, called, clock, clock.sleep).wait(claim, STANDS, clock(), 0.0) == away
    assert store.left == []
    assert [each.ticket for each in store.asked] == [Ticket(TICKET, Stance.GOES, "0a1b")]


def test_one_that_is_not_the_next_does_not_wait_here(clock):
    """The store has said that it goes."""
    away = STANDS._replace(present=False)
    store = LinedStore(clock)
    assert Patience(store, Prompt(clock), clock, clock.sleep).wait(CLAIM, away, clock(), None) == away
    assert store.asked == []


def test_an_interrupt_takes_who_waits_out_of_line(clock):
    """Ctrl-C must leave nobody in line who will not come."""
    store, called = LinedStore(clock), Prompt(clock)
    called.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        Patience(store, called, clock, clock.sleep).wait(CLAIM, STANDS, clock(), None)
    assert store.left == [Waiting(KEY, TICKET)]
    assert called.forgotten


def test_leaving_a_store_that_is_down_is_said_in_the_log(clock, caplog):
    """Their turns pass unclaimed."""
    store, called = LinedStore(clock), Prompt(clock)
    store.down = True
    Patience(store, called, clock, clock.sleep).leave([Waiting(KEY, TICKET)])
    assert called.forgotten == called.awaited == [TICKET]
    assert "may still be called" in caplog.text


def test_a_line_that_is_no_more_is_no_reason_to_give_up(clock):
    """A server that is full keeps nobody's place: whoever has time left looks again, as where there is no line."""
    lease = Lease(CLAIM, 7, None)
    store = LinedStore(clock, Busy("somebody", 8.0), Busy("somebody", 7.0), lease)
    assert Patience(store, Prompt(clock), clock, clock.sleep).wait(CLAIM, STANDS, clock(), None) is lease
    assert clock.slept


# What is handed over

#: No try of this process has this number by itself.
ECHO = 10**9
HANDED = Claim(KEY, "ann", 30.0, ticket=Ticket("ann", Stance.WAITS_IF_NEXT, "0a1b", echo=ECHO))
HAVE = Wake(KEY, TICKET, turn=True, window=30.0, fence=7, echo=ECHO)


def handed(clock, wake: Wake, waited: float, *answers: object, claim: Claim = HANDED) -> tuple[object, LinedStore]:
    """What comes of a wait that such a wake ends."""
    store, called = LinedStore(clock, *answers), Prompt(clock)
    called.wake, asked = wake, clock()
    clock.advance(waited)
    return Patience(store, called, clock, clock.sleep).wait(claim, STANDS, asked, None), store


def test_a_lease_that_is_handed_over_needs_no_answer(clock):
    """It is ours for its ttl from when it was asked for: it cannot have been given before."""
    asked = clock()
    lease, store = handed(clock, HAVE, 4.0)
    assert isinstance(lease, Lease)
    assert (lease.fence, lease.deadline, lease.ttl) == (7, asked + 30.0, 30.0)
    assert lease.claim == HANDED._replace(ticket=Ticket(TICKET, Stance.WAITS_IF_NEXT, "0a1b", echo=ECHO))
    assert lease.held()
    assert store.asked == []
    clock.advance(26.0)
    assert not lease.held()


@pytest.mark.parametrize(
    ("wake", "waited"),
    [
        (HAVE._replace(echo=ECHO - 1), 0.1),
        (HAVE._replace(echo=0), 0.1),
        (HAVE._replace(fence=0), 0.1),
        (HAVE, 10.1),
        (HAVE, 60.0),
    ],
    ids=["another try", "none", "a turn", "late", "very late"],
)
def test_what_may_be_over_is_asked_for(clock, wake, waited):
    """A wake of an earlier try, or one that lay in a socket, proves nothing: the answer to a claim does."""
    answer = Lease(HANDED, 9, None)
    lease, store = handed(clock, wake, waited, answer)
    assert lease is answer
    [claim] = store.asked
    assert claim.ticket
    assert claim.ticket.echo not in (0, HANDED.ticket.echo, wake.echo)


def test_one_that_takes_nothing_over_never_does(clock):
    """A claim without a number goes on without one."""
    answer = Lease(CLAIM, 9, None)
    lease, store = handed(clock, HAVE._replace(fence=0, echo=0), 0.0, STANDS, answer, claim=CLAIM)
    assert lease is answer
    assert [claim.ticket.echo for claim in store.asked if claim.ticket] == [0, 0]


@pytest.mark.parametrize(("echo", "seconds"), [(ECHO, patience.AFRESH), (0, patience.NAP)])
def test_one_that_may_be_handed_the_key_asks_for_it_more_often(clock, monkeypatch, echo, seconds):
    """The key that it has without knowing lies idle until then, should the word of it be lost."""
    naps = []
    monkeypatch.setattr(patience.closing, "nap", lambda _, longest, __: naps.append(longest))
    claim = HANDED._replace(ticket=HANDED.ticket._replace(echo=echo))
    handed(clock, HAVE._replace(fence=0), 0.0, Lease(HANDED, 9, None), claim=claim)
    assert naps == [seconds]


@pytest.mark.parametrize("first", [STANDS, Busy("somebody", 8.0)], ids=["out of line", "never in line"])
def test_one_that_only_looks_is_handed_nothing(clock, first):
    """A server that is full keeps no line. Whoever looks stops without a word, and what it has then is nobody's."""
    answers = [Busy("somebody", 8.0), STANDS, Lease(HANDED, 9, None)]
    store, called = LinedStore(clock, *answers), Prompt(clock)
    lease = Patience(store, called, clock, clock.sleep).wait(HANDED, first, clock(), None)
    assert isinstance(lease, Lease)
    echoes = [claim.ticket.echo for claim in store.asked if claim.ticket]
    assert (len(echoes), any(echoes[bool(first.ticket) :])) == (3, False)
