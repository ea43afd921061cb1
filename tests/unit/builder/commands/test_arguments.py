"""A wrong argument is answered at once, before anything is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from builder.cli import make_app
from builder.commands.terminal import _end, make_console
from builder.errors import ConfigError


@pytest.mark.parametrize("command", ["audit", "verify", "bench", "publish"])
def test_a_wheel_that_is_not_there_is_named(command: str) -> None:
    done = CliRunner().invoke(make_app(command), [command, "/nowhere/a.whl"])
    assert done.exit_code == 2
    assert "'/nowhere/a.whl' does not exist" in " ".join(done.output.split())


def test_an_unknown_python_fetches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMWHEELS_HOME", str(tmp_path))
    done = CliRunner().invoke(make_app("python"), ["python", "--python", "cp399"])
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith("no Python 'cp399'; ")
    assert not list(tmp_path.iterdir())


def test_another_python_than_the_environment_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMWHEELS_HOME", str(tmp_path / "home"))
    folder = tmp_path / "try"
    folder.mkdir()
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.2\n")
    done = CliRunner().invoke(make_app("python"), ["python", "--python", "cp313", "--venv", str(folder)])
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception) == f"the environment {folder} has cp311, not cp313; name another folder"


def test_a_message_is_printed_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """rich would read markup in square brackets, and emoji between colons."""
    monkeypatch.setattr("builder.commands.terminal.err", make_console(stderr=True))
    with pytest.raises(SystemExit):
        _end(ConfigError("[red]a:zzz: b"))
    assert capsys.readouterr().err == "error: [red]a:zzz: b\n"
