"""Importing the model stays cheap, for programs that only read recipes."""

from __future__ import annotations

import subprocess
import sys
from pkgutil import walk_packages

from builder import model

HEAVY = {"archspec", "auditwheel", "elftools", "httpx2", "numpy", "requests", "rich", "typer"}


def test_the_model_loads_nothing_heavy_and_prints_nothing() -> None:
    modules = [module.name for module in walk_packages(model.__path__, "builder.model.")]
    assert "builder.model.recipe" in modules
    code = f"import sys, {', '.join(modules)}\nsys.exit(' '.join({HEAVY} & sys.modules.keys()) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
