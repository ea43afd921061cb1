"""The distribution armwheels-audit has what it imports, under its own name, and asks for no more."""

from __future__ import annotations

import ast
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from builder.settings import ROOT
from scripts import audit_distribution

PROJECT = tomllib.loads((audit_distribution.PROJECT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
WHOLE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stage")
    audit_distribution.lay_out(folder)
    return folder


def test_it_has_the_version_and_the_python_of_the_whole() -> None:
    assert PROJECT["version"] == WHOLE["version"]
    assert PROJECT["requires-python"] == WHOLE["requires-python"]


def test_its_dependencies_are_what_it_imports() -> None:
    owners = packages_distributions()
    imported = {canonicalize_name(owners[name][0]) for name in audit_distribution.foreign_packages()}
    # pydantic pins its own core.
    assert imported - {"pydantic-core"} == {Requirement(line).name for line in PROJECT["dependencies"]}


def test_it_holds_no_part_that_builds_or_publishes(stage: Path) -> None:
    rooms = {path.name for path in (stage / audit_distribution.PACKAGE).iterdir()}
    assert {"audit", "audit_cli.py", "configs", "model", "targets.py"} <= rooms
    configs = {path.name for path in (stage / audit_distribution.PACKAGE / "configs").iterdir()}
    assert configs >= {"targets.toml", "servers.toml", "passport.schema.json"}
    assert not configs & {"recipes", "toolchains.toml", "toolchains.lock", "matrices.toml", "channels.toml"}
    assert not rooms & {"toolbox", "compile", "index", "load.py", "nightly.py", "plan.py", "source", "cli.py"}


def test_no_module_names_the_package_of_the_checkout(stage: Path) -> None:
    files = sorted(stage.rglob("*.py"))
    assert len(files) > 30
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Name):
                names = [node.id]
            assert not [name for name in names if name.partition(".")[0] == "builder"], file
