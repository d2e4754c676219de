"""How far one entry has come, as it is written in the store."""

from __future__ import annotations

import json
from datetime import datetime
from typing import NamedTuple


class Position(NamedTuple):
    """What was sent last of an entry, and what is about to be."""

    #: The next due time is counted from this.
    last: datetime
    #: It is being sent for this due time, as this job; whoever finds it so sends it again, under the same id.
    due: datetime | None = None
    task_id: str = ""
    #: No beat has led since that knew of this entry.
    is_gone: bool = False

    def written(self) -> str:
        """As a text."""
        found = {"last": self.last.isoformat(), "due": self.due and self.due.isoformat(), "id": self.task_id}
        return json.dumps({name: each for name, each in {**found, "gone": self.is_gone}.items() if each})

    @classmethod
    def read(cls, text: str) -> Position:
        """What was written."""
        found = json.loads(text)
        due = found.get("due")
        return cls(
            datetime.fromisoformat(found["last"]),
            due and datetime.fromisoformat(due),
            found.get("id", ""),
            found.get("gone", False),
        )
