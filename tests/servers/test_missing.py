"""A missing server is a skip with a remedy at home, and a failure in CI."""

from __future__ import annotations

import pytest

from tests.servers import install, missing, programs
from tests.servers.programs import Program

ABSENT = Program("no-such-server", apt="no-such-package", brew="no-such-formula")


@pytest.fixture(autouse=True)
def _nothing_is_known_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing, "_missing", {})


def test_at_home_a_missing_server_is_a_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CI the test is skipped, and the closing table names the server and the command that installs it."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception) as skipped:
        missing.require(ABSENT)
    [line] = missing.table([str(skipped.value), "another reason"])
    assert line.split() == ["no-such-server", "1", "skipped", "install:", *ABSENT.remedy.split()]


def test_in_ci_a_missing_server_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """With CI=true a missing server fails the test."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-server is missing"):
        missing.require(ABSENT)


def test_nothing_missing_is_no_table() -> None:
    """When every server was there, nothing is said."""
    missing.require(Program("sh", apt="dash", brew="dash"))
    assert list(missing.table([])) == []


def test_the_remedy_is_of_this_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is Homebrew's on macOS and apt's elsewhere."""
    monkeypatch.setattr("sys.platform", "darwin")
    assert ABSENT.remedy == "brew install no-such-formula"
    monkeypatch.setattr("sys.platform", "linux")
    assert ABSENT.remedy == "sudo apt-get install no-such-package"


def test_what_cannot_be_installed_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without root, the installer installs nothing and says what to run; it does not fail."""
    monkeypatch.setattr(programs, "ALL", (ABSENT,))
    monkeypatch.setattr(install, "_as_root", lambda: None)
    install.main()
    assert f"missing (not installed here); install: {ABSENT.remedy}" in capsys.readouterr().out


def test_the_installer_says_one_line_for_each_server_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where all is installed it installs nothing, and says where each was found."""
    monkeypatch.setattr(programs, "ALL", tuple(program for program in programs.ALL if program.find()))
    install.main()
    assert len(capsys.readouterr().out.splitlines()) == len(programs.ALL)
