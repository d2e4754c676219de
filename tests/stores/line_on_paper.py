"""A key and its line on paper: what every store with lines must agree with."""

from __future__ import annotations

from dataclasses import dataclass

NAMES = ("ann", "bens", "cleo", "dora")


@dataclass
class Job:
    """One that wants the key: a new owner for each try, one ticket for all."""

    name: str
    tries: int = 0
    date: int | None = None
    #: Where it is in line, on paper: not, called, present, or away, since it left.
    at: str = ""
    left: int = 0
    recent: bool = False
    #: It waits in a slot, and the key may be handed over to this try of it.
    heir: int = 0

    @property
    def owner(self) -> str:
        return f"{self.name}.{self.tries}"

    @property
    def ticket(self) -> str:
        return f"{self.date:016}-{self.name}" if self.date else self.name


class OnPaper:
    """Who holds the key, for whom it is kept, and who waits. Time passes only when it is said."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs = {name: Job(name) for name in NAMES}
        self.holder: Job | None = None
        self.kept: Job | None = None
        self.fence = 0

    def line(self) -> list[Job]:
        """Those present by the time they first asked, and before those who came later whoever left a moment ago."""
        present = [(job.date or 0, 1, job) for job in self.jobs.values() if job.at == "present"]
        coming = [(job.left, 0, job) for job in self.away(recent=True)]
        return [job for _, _, job in sorted(present + coming, key=lambda each: each[:2])]

    def away(self, *, recent: bool = False) -> list[Job]:
        return [job for job in self.jobs.values() if job.at == "away" and (job.recent or not recent)]

    def pass_over(self) -> None:
        for other in self.jobs.values():
            if other.at == "called":
                other.at = ""

    def arrives(self, job: Job) -> None:
        """It can start at once. One that waits in a slot does so there."""
        if job.at not in ("present", "called"):
            job.heir = 0
        job.at = "present"

    def hand_over(self) -> int:
        """It is given back. The key is the next one's, if that waits in a slot: the try of it that has it now."""
        self.call_next()
        if not (self.kept and self.kept.heir):
            return 0
        self.holder, self.kept = self.kept, None
        self.holder.at = ""
        return self.holder.heir

    def call_next(self) -> None:
        self.kept = None
        self.pass_over()
        if line := self.line():
            self.kept = line[0]
            self.kept.at = "called"

    def may_take(self, job: Job) -> bool:
        if self.holder or self.kept:
            return job is self.kept
        self.pass_over()
        line = self.line()
        if not line or line[0] is job:
            return True
        return job.date is not None and job.date < (line[0].left if line[0].at == "away" else line[0].date or 0)

    def gone(self, job: Job) -> int:
        """It waits no more, or is done; which try of another has the key now that it gave it back."""
        if job is self.holder:
            self.holder = None
            job.tries, job.date, job.at = job.tries + 1, None, ""
            return self.hand_over()
        job.at = ""
        if job is self.kept:
            self.call_next()
        return 0

    def moved_on(self) -> None:
        if not (self.holder or self.kept):
            self.call_next()
