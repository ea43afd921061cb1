"""The build backend that a source declares (:pep:`517`), and the recipe's frontend for it. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from typing import Any

LEGACY = "setuptools.build_meta:__legacy__"
"""The backend of a source without ``build-backend`` (PEP 517, "Source trees")."""
FRONTENDS: Mapping[str, str] = {
    "setuptools.build_meta": "setuptools",
    LEGACY: "setuptools",
    "mesonpy": "meson-python",
    "scikit_build_core.build": "scikit-build-core",
    "scikit_build_core.setuptools.build_meta": "setuptools",
    "maturin": "maturin",
}
"""The frontend of a recipe for each backend."""
Read = Callable[[str], str | None]
"""Returns the text of a file of the source by its path, ``None`` if there is none."""


def pyproject_of(read: Read) -> Mapping[str, Any]:
    """The content of the source's ``pyproject.toml``, empty without one.

    Raises:
        ValueError: it is not TOML.
    """
    return tomllib.loads(read("pyproject.toml") or "")


def backend_of(pyproject: Mapping[str, Any]) -> str:
    """The declared backend."""
    return str(pyproject.get("build-system", {}).get("build-backend", LEGACY))


def frontend_of(pyproject: Mapping[str, Any], read: Read) -> str | None:
    """The frontend for the declared backend; ``None`` if there is none.

    A backend that lies in the source (``backend-path``) counts as the one that its code names.
    """
    backend = backend_of(pyproject)
    if backend in FRONTENDS:
        return FRONTENDS[backend]
    module = backend.partition(":")[0].replace(".", "/")
    for folder in pyproject.get("build-system", {}).get("backend-path", ()):
        code = (
            read(f"{folder}/{module}.py".removeprefix("./")) or read(f"{folder}/{module}/__init__.py") or ""
        )
        for known, frontend in FRONTENDS.items():
            if known.partition(":")[0] in code.replace("from setuptools import build_meta", known):
                return frontend
    return None
