"""Every command, option and make target that the documents name exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import armwheels_verify.cli
import pytest
import typer

import builder.audit_cli
import builder.cli
import index_server.cli
from tests.helpers.documents import DOCUMENTS, ROOT, code_of

APPS = {"armwheels": builder.cli.make_app(), "armwheels-index": index_server.cli.make_app()}


def options_of(command: Any) -> set[str]:
    """The options of a command, of a group those of all its commands."""
    own = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    return own.union(*map(options_of, getattr(command, "commands", {}).values()))


OPTIONS = {
    program: {name: options_of(command) for name, command in typer.main.get_group(app).commands.items()}
    for program, app in APPS.items()
}
AUDIT_OPTIONS = options_of(typer.main.get_command(builder.audit_cli.make_app()))
VERIFY_OPTIONS = {
    option for action in armwheels_verify.cli.parser()._actions for option in action.option_strings
}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
COMMAND = re.compile(r"(?<![\w/.-])(?:\.venv/bin/)?(armwheels(?:-index)?) ([a-z]+)\b([^\n;&|#(]*)")
AUDIT = re.compile(r"(?<![\w/.-])armwheels-audit\b([^\n;&|#]*)")
VERIFY = re.compile(r"(?<![\w/.-])armwheels-verify\b([^\n;&|#]*)")
MAKE = re.compile(r"(?<![\w-])make ([a-z]+)\b")


def faults(code: str) -> Iterator[str]:
    """What no program knows in a piece of code; what stands behind ` -- ` belongs to another program."""
    for program, name, rest in COMMAND.findall(code.replace("\\\n", " ")):
        if name not in OPTIONS[program]:
            yield f"{program} {name}: no such command"
            continue
        given = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest.partition(" -- ")[0]))
        yield from (
            f"{program} {name} {option}: no such option" for option in sorted(given - OPTIONS[program][name])
        )
    for rest in AUDIT.findall(code.replace("\\\n", " ")):
        given = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest))
        yield from (f"armwheels-audit {option}: no such option" for option in sorted(given - AUDIT_OPTIONS))
    for rest in VERIFY.findall(code.replace("\\\n", " ")):
        given = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest))
        yield from (f"armwheels-verify {option}: no such option" for option in sorted(given - VERIFY_OPTIONS))
    yield from (f"make {target}: no such target" for target in MAKE.findall(code) if target not in TARGETS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_exist(document: Path) -> None:
    assert [fault for code in code_of(document) for fault in faults(code)] == []


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("armwheels plan --matrix quick", 0),
        ("armwheels plan --matrixx quick", 1),
        ("armwheels gone", 1),
        (".venv/bin/armwheels python --target a \\\n  --venv v -- -m pip install --index-url x", 0),
        ("armwheels-index token --name ci --gone", 1),
        ("armwheels-audit a.whl b.whl --sarif x", 0),
        ("armwheels-audit a.whl --gone", 1),
        ("armwheels-verify --saved s --root r dist/", 0),
        ("armwheels-verify --gone dist/", 1),
        ("make run", 0),
        ("make gone MATRIX=small", 1),
    ],
)
def test_what_counts_as_a_fault(code: str, count: int) -> None:
    assert len(list(faults(code))) == count
