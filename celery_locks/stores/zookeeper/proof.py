"""Until when the servers keep a session for certain, reckoned from what was asked of them and answered."""

from __future__ import annotations

import math
from collections import deque

#: A server tells the leader whom it heard when the leader asks, each half tick. A session is at least two ticks long
#: (minSessionTimeout), so this part of it is half a tick, and some for a leader that is late.
HEARSAY = 1 / 3
#: After this part of a session's time without a word of the leader we speak.
EVERY = 1 / 8
#: A server that owes an answer for this part is left for another one.
SILENCE = 1 / 4
#: So exactly is remembered when we were heard, and for how long: for longer than hearsay takes.
GRAIN, MOST = 1 / 100, 100


class Proof:
    """Follows one connection after another, on the clock of whoever tells it.

    That the leader lets a session live says nothing of how long it will. What counts is since when it counts the
    session's time: since the last of our requests that it was told of. Any server may hear a request, and tell of it
    later. It has told of those that were answered well before a request on which the leader then acted.
    """

    def __init__(self) -> None:
        self.granted = 0.0
        #: The time until which the session is kept.
        self.until = -math.inf
        self._asked: dict[int, tuple[float, bool]] = {}
        #: When a request was answered and when it left, the oldest first.
        self._heard: deque[tuple[float, float]] = deque(maxlen=MOST)
        self._due = math.inf
        self._last_answer = -math.inf

    def opened(self, asked: float, answered: float, granted: float) -> None:
        """A connection was opened, of which the leader itself was asked."""
        self.granted = granted
        self._asked.clear()
        self._heard = deque([(answered, asked)], MOST)
        self.until = asked + granted
        self.expect(asked)

    def expect(self, asked: float) -> None:
        """We are about to speak: no need to do so again for a while."""
        self._due = asked + self.granted * EVERY

    def asked(self, number: int, now: float, *, of_the_leader: bool) -> None:
        """A request is leaving."""
        # All pings have one number. The first answer is that to the first.
        self._asked.setdefault(number, (now, of_the_leader))
        if of_the_leader:
            self.expect(now)

    def answered(self, number: int, now: float, *, well: bool = True) -> None:
        """The answer to it has come; `well` is whether what was asked for was looked at."""
        asked, of_the_leader = self._asked.pop(number, (math.inf, False))
        if asked > now:
            return
        if number > 0:
            self._last_answer = now
        if not well:
            return
        while of_the_leader and self._heard and self._heard[0][0] <= asked - self.granted * HEARSAY:
            self.until = max(self.until, self._heard.popleft()[1] + self.granted)
        if not self._heard or asked - self._heard[-1][1] >= self.granted * GRAIN:
            self._heard.append((now, asked))

    def due(self, now: float) -> float:
        """Seconds until we should speak."""
        return self._due - now

    def is_mute(self, now: float) -> bool:
        """Whether the server has owed an answer for too long. Many answers may take longer, as long as they come."""
        oldest, _ = next(iter(self._asked.values()), (now, False))
        return now - max(oldest, self._last_answer) > self.granted * SILENCE
