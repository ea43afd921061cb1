"""The files of ``deploy/``: they name routes, variables, commands and folders that exist."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.utils import canonicalize_name

from index_server.cli import COMMANDS
from index_server.limits import PROBES
from index_server.settings import ROOT, VARIABLES

DEPLOY = ROOT / "deploy"
KNOWN = {variable.name for variable in VARIABLES}


def objects() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")))


def container() -> dict[str, Any]:
    [deployment] = (one for one in objects() if one["kind"] == "Deployment")
    [found] = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("name", ["Containerfile", "compose.yaml", "kubernetes.yaml"])
def test_the_files_name_no_unknown_variable(name: str) -> None:
    text = (DEPLOY / name).read_text(encoding="utf-8")
    assert set(re.findall(r"\b(?:ARMWHEELS|AWS)_[A-Z0-9_]+\b", text)) <= KNOWN


def test_probes_are_routes_and_a_port_of_the_container() -> None:
    one = container()
    ports = {port["name"] for port in one["ports"]}
    for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
        asked = one[kind]["httpGet"]
        assert asked["path"] in PROBES
        assert asked["port"] in ports


def test_the_service_selects_the_replicas() -> None:
    by_kind = {one["kind"]: one for one in objects()}
    labels = by_kind["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert by_kind["Service"]["spec"]["selector"] == labels
    assert by_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels


def test_the_file_cache_lies_in_a_volume_that_has_room_for_it() -> None:
    environment = {one["name"]: one["value"] for one in container()["env"]}
    [mount] = (one for one in container()["volumeMounts"] if one["name"] == "state")
    assert environment["ARMWHEELS_FILE_CACHE"].startswith(mount["mountPath"] + "/")
    assert int(environment["ARMWHEELS_FILE_CACHE_BYTES"]) < 25 << 30


def test_containers_run_a_command_of_the_program() -> None:
    lines = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    assert re.search(r'CMD \["(\w+)"', lines)[1] in COMMANDS  # type: ignore[index]
    assert container()["args"][0] in COMMANDS
    stop = re.search(r"stop_grace_period: (\d+)s", (DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert stop
    assert int(stop[1]) > 10


def test_what_the_image_copies_is_there() -> None:
    ignored = set((ROOT / ".containerignore").read_text(encoding="utf-8").split())
    for name in ("requirements.lock", "pyproject.toml", "README.md", "index_server", "configs"):
        assert (ROOT / name).exists()
        assert name not in ignored
    assert {".venv", "var", ".git"} <= ignored
    assert Path(ROOT / "deploy/Containerfile").is_file()


def test_the_image_has_what_the_index_imports() -> None:
    """Each module that ``index_server`` imports is of a distribution in the lock file of the image."""
    lock = (DEPLOY / "requirements.lock").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    assert "uvicorn" in locked
    assert not locked & {"numpy", "temporalio", "auditwheel", "pip"}
    owners = packages_distributions()
    imported: set[str] = set()
    for path in (ROOT / "index_server").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
    outside = imported - sys.stdlib_module_names - {"index_server", "mypy_boto3_s3"}  # for types alone
    assert {"fastapi", "boto3", "tuf"} <= outside
    missing = {name for name in outside if not {canonicalize_name(one) for one in owners[name]} & locked}
    assert missing == set()


def test_the_lock_of_the_image_agrees_with_the_lock() -> None:
    whole, image = (
        dict(re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE))
        for path in (ROOT / "requirements.lock", DEPLOY / "requirements.lock")
    )
    assert {name: whole.get(name) for name in image} == image
