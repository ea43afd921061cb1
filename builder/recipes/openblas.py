"""OpenBLAS from the wheel that SciPy's project publishes, for a source that asks pkg-config for it.

NumPy and SciPy link their own wheels so: https://github.com/MacPython/openblas-libs, "pkg-config".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from builder.errors import ConfigError
from builder.model.libraries import WheelDependency
from builder.recipes.project import best_wheel, fetch, find_release, read_wheel
from builder.recipes.sdist import Sdist, aside

MODULE = "scipy-openblas"
PROJECT = "scipy-openblas32"
"""The wheel with 32-bit integers, which both projects link unless they are told otherwise."""
OPTIONS = (f"-Dblas={MODULE}", f"-Dlapack={MODULE}")
ALLOWED = "OpenBLAS is built with DYNAMIC_ARCH and picks its kernels by the CPU it finds"
_LICENCE = "BSD-3-Clause AND (GPL-3.0-or-later WITH GCC-exception-3.1)"
_PINNED = re.compile(rf"^{PROJECT}==([0-9.]+)", re.MULTILINE)


def asks_for_openblas(sdist: Sdist) -> bool:
    """Whether a Meson build file names the pkg-config module of the wheel."""
    return any(
        name.endswith("meson.build") and f"'{MODULE}'" in text and not aside(name)
        for name, text in sdist.texts.items()
    )


def pinned_version(texts: Mapping[str, str]) -> str | None:
    """The version that the project's own requirements pin."""
    found = (_PINNED.search(text) for name, text in texts.items() if name.startswith("requirements/"))
    return next((match[1] for match in found if match), None)


def openblas_wheel(sdist: Sdist, home: Path, report: Callable[[str], None]) -> WheelDependency | None:
    """The wheel to link, of the version that the project pins, else the newest; ``None`` if it asks for none.

    Raises:
        ConfigError: the index has no wheel of it for arm64, or the wheel has another layout.
        ToolboxError: the index does not answer.
    """
    if not asks_for_openblas(sdist):
        return None
    release = find_release(PROJECT, pinned_version(sdist.texts))
    file = best_wheel(release, ())
    if file is None or "manylinux" not in file.filename or "aarch64" not in file.filename:
        raise ConfigError(f"{PROJECT} {release.version} has no wheel for arm64 Linux on pip's index")
    report(f"reading {file.filename}")
    members = read_wheel(fetch(PROJECT, file, home)).members
    folder = PROJECT.replace("-", "_")
    licences = tuple(name for name in members if ".dist-info/licenses/" in name and name[-1] != "/")
    if f"{folder}/lib/libscipy_openblas.so" not in members or not licences:
        raise ConfigError(
            f"{file.filename} has no {folder}/lib/libscipy_openblas.so, or no licence beside it"
        )
    return WheelDependency(
        name=PROJECT,
        version=str(release.version),
        filename=file.filename,
        sha256=file.sha256,
        libraries=f"{folder}/lib",
        headers=f"{folder}/include",
        pkg_config=MODULE,
        link="-lscipy_openblas",
        cflags=("-DBLAS_SYMBOL_PREFIX=scipy_",),
        licence=_LICENCE,
        licence_files=licences,
    )
