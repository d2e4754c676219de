"""Check that the wheel in a directory holds all that a user needs: `python .ci/wheel.py dist`."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

PACKAGE = Path("celery_locks")
#: What is looked for.
KINDS = ("*.py", "*.lua", "*.html", "*.css", "*.js", "py.typed")
#: How it is reached from outside.
DOORS = ("celery-locks = celery_locks.cli:main", "locks = celery_locks.cli:locks")


def main(directory: str) -> str | None:
    """None when all is there, else what is missing."""
    wheel = next(Path(directory).glob("*.whl"))
    zipped = zipfile.ZipFile(wheel)
    inside = set(zipped.namelist())
    wanted = {path.as_posix() for kind in KINDS for path in PACKAGE.rglob(kind)}
    if missing := sorted(wanted - inside):
        return f"{wheel} lacks {', '.join(missing)}"
    if strangers := sorted(name for name in inside if not name.startswith(("celery_locks/", "celery_locks-"))):
        return f"{wheel} should not hold {', '.join(strangers)}"
    doors = next(zipped.read(name).decode() for name in inside if name.endswith("/entry_points.txt"))
    if closed := [door for door in DOORS if door not in doors]:
        return f"{wheel} does not offer {', '.join(closed)}"
    scripts = sum(name.endswith(".lua") for name in inside)
    print(f"{wheel}: {len(inside)} files, {scripts} of them scripts, and py.typed")
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
