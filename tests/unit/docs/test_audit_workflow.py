"""The example workflow is a workflow of GitHub Actions, and the commands in it exist."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from builder.audit_cli import make_app
from builder.cpus import load_targets
from tests.helpers.documents import ROOT

FILE = ROOT / "examples/audit-workflow/audit.yml"
WORKFLOW: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
COMMAND: Any = typer.main.get_command(make_app())
MATRIX = WORKFLOW["jobs"]["audit"]["strategy"]["matrix"]


def test_it_fits_the_schema_of_workflows() -> None:
    command = ["check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(FILE)]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def lines() -> list[str]:
    return [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("target", MATRIX["target"])
def test_each_command_line_is_taken(target: str, tmp_path: Path) -> None:
    wheel = tmp_path / "m-1.0-py3-none-any.whl"
    wheel.touch()
    [line] = lines()
    words = shlex.split(line.replace("${{ matrix.target }}", target).replace("wheelhouse/*.whl", str(wheel)))
    assert words[:5] == ["pipx", "run", "--spec", "$ARMWHEELS_AUDIT", "armwheels-audit"]
    given = COMMAND.make_context("armwheels-audit", words[5:]).params
    assert load_targets()[given["target"]]
    assert given["wheels"] == [wheel]
    assert given["sarif"] == Path("audit.sarif")


def test_what_is_uploaded_is_what_the_audit_wrote() -> None:
    upload = WORKFLOW["jobs"]["audit"]["steps"][-1]
    assert upload["uses"].startswith("github/codeql-action/upload-sarif@")
    assert upload["with"]["sarif_file"] == "audit.sarif"
    assert upload["with"]["category"] == "armwheels-audit/${{ matrix.target }}"


def test_it_names_the_wheel_that_the_script_makes() -> None:
    project = tomllib.loads((ROOT / "distributions/armwheels-audit/pyproject.toml").read_text())["project"]
    name = Path(WORKFLOW["env"]["ARMWHEELS_AUDIT"]).name
    assert name.startswith(f"armwheels_audit-{project['version']}-py3-none-manylinux_")
    assert name.endswith("_x86_64.whl")
