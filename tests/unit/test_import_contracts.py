"""The import contracts of pyproject.toml: each one catches an import that it forbids."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from builder.settings import ROOT

# Of each contract: a module, and an import that it may not have.
FORBIDDEN = {
    "builder: imports go downward only": ("builder/toolbox/fetch.py", "builder.nightly"),
    "index_server: imports go downward only": ("index_server/rules/gates.py", "index_server.catalog.catalog"),
    "builder, index_server and armwheels_verify meet over HTTP and data alone": (
        "builder/settings.py",
        "index_server.names",
    ),
    "pure modules do no I/O and run no process": ("index_server/catalog/catalog.py", "subprocess"),
    "the builder's model loads nothing heavy": ("builder/model/base.py", "numpy"),
    "boto3 appears in index_server.store.bucket alone": ("index_server/store/folder.py", "boto3"),
    "archspec appears in builder.targets alone": ("builder/plan.py", "archspec"),
    "temporalio appears in builder.fleet alone": ("builder/nightly.py", "temporalio"),
    "fastapi appears in index_server.api alone": ("index_server/pages/simple.py", "fastapi"),
}


def test_each_contract_catches_a_forbidden_import(tmp_path: Path) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert FORBIDDEN.keys() == {contract["name"] for contract in contracts}
    for package in ("builder", "index_server", "distributions/armwheels-verify/armwheels_verify"):
        copy = tmp_path / Path(package).name
        shutil.copytree(ROOT / package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for module, forbidden in FORBIDDEN.values():
        with (tmp_path / module).open("a", encoding="utf-8") as code:
            code.write(f"\nimport {forbidden}\n")
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    for name, (module, forbidden) in FORBIDDEN.items():
        assert f"{name} BROKEN" in done.stdout
        importer = module.removesuffix(".py").replace("/", ".")
        assert f"{importer} -> {forbidden}" in done.stdout
