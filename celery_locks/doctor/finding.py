"""What a doctor knows of a hazard, and what it says when it finds one."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "note"]

_SHOWN = 5


class Finding(NamedTuple):
    """A hazard that is there: what is wrong, why that bites, and the line that mends it.

    An error can give a key to two, or lose a job, as things are. A warning can when something else goes wrong. A note
    is for reading.
    """

    code: str
    severity: Severity
    what: str
    why: str
    mend: str

    @property
    def anchor(self) -> str:
        """Where the docs say more."""
        return f"docs/doctor.md#{self.code.lower()}"


class Hazard(NamedTuple):
    """What may be wrong. `mend` is a template over what was found."""

    code: str
    severity: Severity
    why: str
    mend: str

    def found(self, what: str, severity: Severity | None = None, **words: Any) -> Finding:
        """It is there."""
        return Finding(self.code, severity or self.severity, what, self.why, self.mend.format(**words))


#: No hazard: something could not be looked at.
SILENT = Hazard("CL000", "note", "Nothing is known of it.", "ask again when that is mended")


def some(names: list[str]) -> str:
    """A few names, and how many more there are."""
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
