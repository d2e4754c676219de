"""What a user's type checker says of a user's module."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

MODULES = ["api", "by_method", "fences", "fences_django", "fences_sqlalchemy", "rq_jobs", "mistakes"]
Found = dict[str, list[tuple[int, str]]]
HERE = pathlib.Path(__file__).parent
LINE = re.compile(r"^(?P<file>.+?):(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$")
MARK = re.compile(r"#\s*error:\s*(?P<code>[a-z-]+)")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Every error in each of the modules, as mypy finds it with no settings but `--strict`."""
    cache = tmp_path_factory.mktemp("mypy")
    arguments = ["--strict", "--config-file=", f"--cache-dir={cache}", "--follow-imports=silent", "--no-error-summary"]
    options = [*arguments, "--show-error-codes", "--no-pretty", "--hide-error-context"]
    modules = [part for name in MODULES for part in ("-m", f"tests.typing.{name}")]
    # In a process of its own: what it leaves behind in memory is looked through after each test that follows.
    told = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *modules],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not told.stderr, told.stderr
    errors: Found = {f"{name}.py": [] for name in MODULES}
    for each in filter(None, map(LINE.match, told.stdout.splitlines())):
        errors[pathlib.Path(each["file"]).name].append((int(each["line"]), each["code"]))
    return errors


def marked(name: str) -> list[tuple[int, str]]:
    lines = (HERE / name).read_text("utf-8").splitlines()
    return [(number, mark["code"]) for number, line in enumerate(lines, 1) for mark in MARK.finditer(line)]


def test_what_a_user_writes_has_its_types(found: Found) -> None:
    """A module that uses everything as the docs say has no error under `mypy --strict`."""
    assert found["api.py"] == []
    assert found["fences.py"] == found["fences_django.py"] == found["fences_sqlalchemy.py"] == found["rq_jobs.py"] == []


def test_a_callable_option_may_be_a_static_method(found: Found) -> None:
    """In a class body a function is best a static method: a type checker has nothing to say against it."""
    assert found["by_method.py"] == []


def test_a_users_mistakes_are_errors(found: Found) -> None:
    """Each marked line is the error it is marked as, and no other line is one."""
    assert found["mistakes.py"] == marked("mistakes.py")


def test_the_mistakes_are_marked() -> None:
    """Nobody emptied the list."""
    assert len(marked("mistakes.py")) > 25
