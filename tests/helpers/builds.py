"""A small recipe, its ingredients and its builds, for tests that compile nothing."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

from builder.digests import CompilerFacts, Ingredients
from builder.model.build import Build
from builder.model.recipe import Recipe
from builder.plan import make_build
from builder.source import source_inputs
from builder.targets import Targets

RECIPE = {
    "name": "demo",
    "about": "a demo",
    "build_number": 1,
    "versions": {
        "1.0": {
            "epoch": 1_700_000_000,
            "source": {"kind": "sdist", "filename": "demo-1.0.tar.gz", "sha256": "a" * 64},
        }
    },
    "build": {"frontend": "setuptools", "compiler": "zig", "requires": ["setuptools"], "options": ["-Dx=1"]},
    "backends": {"openblas": {"default": True}, "reference": {"options": ["-Dblas=none"]}},
    "promises": {"neoverse-v1": ["sve"]},
    "verify": {"script": "demo.py"},
}


def ingredients_for(recipe: Recipe, **changed: object) -> Ingredients:
    parts = (
        "zig",
        "gnu",
        "sysroot-bullseye",
        "sysroot-licences",
        "python-cp311",
        "headers-cp311",
        "userland-cp311",
        "llvm",
        "libgcc",
        "gnu-14",
        "gfortran-14",
        "libgfortran",
    )
    given: dict[str, Any] = {
        "tool_digests": {part: f"{number:064x}" for number, part in enumerate(parts)},
        "lock_digests": {(recipe.name, "cp311"): "b" * 64},
        "compilers": {
            "zig": CompilerFacts("0.17.1", ("zig",), "zig"),
            "gcc": CompilerFacts("12.2.0", ("gnu", "sysroot-bullseye"), "gcc", ("sysroot-licences",)),
            "gcc-14": CompilerFacts(
                "14.2.0",
                ("gnu-14", "sysroot-bullseye"),
                "gcc",
                ("sysroot-licences",),
                fortran=("gfortran-14", "libgfortran"),
            ),
        },
        "identifiers": {"cp311": "cp311-manylinux_aarch64"},
        "source_inputs": {(recipe.name, v): source_inputs(s) for v, s in recipe.versions.items()},
        "stages": {"compile": 1, "repair": 1, "setuptools": 1, "cibuildwheel": 1},
        "repair_tools": {"auditwheel": "6.8.2"},
    }
    return Ingredients(**{**given, **changed})


def build_for(recipe: Recipe, targets: Targets, target: str = "neoverse-v1", **changed: object) -> Build:
    return make_build(
        recipe,
        version="1.0",
        python="cp311",
        target=target,
        backend=str(changed.pop("backend", "openblas")),
        required=False,
        targets=targets,
        ingredients=ingredients_for(recipe, **changed),
    )


def tarball(home: Path, name: str, files: dict[str, str]) -> str:
    """A tar archive among the downloads, where a fetched one would lie; returns its sha256."""
    made = home / name
    made.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(made, "w:xz") as tar:
        for path, text in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    sha256 = hashlib.sha256(made.read_bytes()).hexdigest()
    kept = home / "downloads" / sha256 / name
    kept.parent.mkdir(parents=True)
    made.rename(kept)
    return sha256
