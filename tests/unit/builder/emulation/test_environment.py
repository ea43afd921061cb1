"""The variables of emulated programs, held to what real pip makes of them."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from builder.emulation.environment import EmulatedPython, python_of
from tests.helpers.wheels import make_wheel


def test_pip_writes_no_bytecode(tmp_path: Path) -> None:
    """Under emulation that takes most of an installation; this machine's Python writes it afterwards."""
    name = "demo-1.0-py3-none-any.whl"
    (tmp_path / name).write_bytes(make_wheel(name, files={"demo/__init__.py": b"x = 1\n"}))
    unpacked = cast(Any, SimpleNamespace(_pip=tmp_path / "pip"))
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--target", str(tmp_path / "site")]
    subprocess.run(
        [*command, str(tmp_path / name)],
        env=EmulatedPython.variables(unpacked),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert [path.name for path in (tmp_path / "site/demo").iterdir()] == ["__init__.py"]


def test_the_python_of_an_environment_is_read(tmp_path: Path) -> None:
    venv.create(tmp_path / "made", with_pip=False)
    assert python_of(tmp_path / "made") == f"cp3{sys.version_info.minor}"
    assert python_of(tmp_path) is None
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.9\n")
    assert python_of(tmp_path) == "cp39"
