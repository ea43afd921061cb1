"""Both programs load the one command that is run, so that it starts soon."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

import builder.cli
import index_server.cli

BUILDER = [name for commands in builder.cli.PANELS.values() for name in commands]


@pytest.mark.parametrize(
    ("half", "command", "absent"),
    [
        ("index_server", "token", ("fastapi", "uvicorn", "requests", "index_server.intake")),
        ("index_server", "check", ("fastapi", "uvicorn", "requests")),
        ("builder", "history", ("numpy", "auditwheel", "pypi_simple", "archspec", "builder.nightly")),
        ("builder", "snapshot", ("numpy", "auditwheel", "pypi_simple", "archspec")),
    ],
)
def test_a_command_does_not_load_what_it_does_not_use(
    half: str, command: str, absent: tuple[str, ...]
) -> None:
    script = (
        f"import sys; from {half} import cli; cli.make_app({command!r}); "
        f"print([name for name in {absent!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("cli", "names"), [(builder.cli, BUILDER), (index_server.cli, list(index_server.cli.COMMANDS))]
)
def test_alone_or_among_all_a_command_is_the_same(cli: object, names: list[str]) -> None:
    make_app = cli.make_app  # type: ignore[attr-defined]  # both modules have one
    together = typer.main.get_group(make_app()).commands
    assert list(together) == names
    for name in names:
        alone = typer.main.get_group(make_app(name)).commands
        assert list(alone) == [name]
        assert alone[name].help == together[name].help
    assert list(typer.main.get_group(make_app("no-such-command")).commands) == names
