"""Why a project cannot be built, found in its files alone. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from builder.recipes.sdist import FORTRAN, Sdist, aside

_FETCH = re.compile(
    r"\b(FetchContent_Declare|ExternalProject_Add|CPMAddPackage)\s*\(([^)]*)\)", re.IGNORECASE
)
_FETCHED = re.compile(r"\b(GIT_REPOSITORY|URL|GITHUB_REPOSITORY)\s+(\S+)", re.IGNORECASE)
_CLONE = re.compile(r"git[\s\"',]+clone\b|\burlretrieve\(")
_CRATE = re.compile(r"^\[\[package\]\]", re.MULTILINE)


def refusal(sdist: Sdist, *, pure_wheels: bool, frontends: Collection[str], fortran: bool) -> str | None:
    """The reason why a source cannot be built here, in a sentence; ``None`` if none was found.

    ``pure_wheels`` says that the project has wheels and none is for a platform, ``frontends`` are those of recipes,
    ``fortran`` whether the toolbox has a Fortran compiler.
    """
    if pure_wheels:
        return "it is pure Python: its wheels run on every CPU as they are, so that there is nothing to tune"
    if not sdist.is_compiled:
        return "its source has nothing to compile: it is pure Python, so that there is nothing to tune"
    return next(_reasons(sdist, frontends, fortran), None)


def _reasons(sdist: Sdist, frontends: Collection[str], fortran: bool) -> Iterator[str]:
    if (reason := _rust(sdist)) is not None:
        yield reason
    if sdist.frontend is None:
        yield f"its build backend is {sdist.backend}; recipes have the frontends {', '.join(frontends)}"
    elif sdist.frontend not in frontends:
        yield f"its build backend is {sdist.backend}, for which recipes have no frontend"
    if not fortran and (files := [name for name in sdist.compiled if name.endswith(FORTRAN)]):
        yield f"it has Fortran ({files[0]}), for which the toolbox has no compiler"
    if sdist.uses_cmake:
        yield from _fetched(sdist)
    for name, text in sdist.texts.items():
        if name in ("setup.py", "CMakeLists.txt") or ("/" not in name and name.endswith(".sh")):
            found = _CLONE.search(text)
            if found:
                yield f"its build downloads sources itself ({name}: {found[0]}), which no hash pins"


def _rust(sdist: Sdist) -> str | None:
    """Crates that the source does not contain."""
    if not sdist.is_rust:
        return None
    config = sdist.texts.get(".cargo/config.toml", "") + sdist.texts.get(".cargo/config", "")
    # setuptools-rust's crates are often in a folder of their own.
    locks = any(name.rpartition("/")[2] == "Cargo.lock" and not aside(name) for name in sdist.names)
    if re.search(r"^directory\s*=", config, re.MULTILINE) or not locks:
        return None
    return (
        "it is written in Rust, and its source distribution has no vendored crates: "
        "cargo would download what no hash here pins"
    )


def _fetched(sdist: Sdist) -> Iterator[str]:
    for name, text in sdist.texts.items():
        if not name.endswith(("CMakeLists.txt", ".cmake")) or aside(name):
            continue
        code = re.sub(r"#[^\n]*", "", text)
        for call in _FETCH.finditer(code):
            if fetched := _FETCHED.search(call[2]):
                project = call[2].split()[0]
                yield (
                    f"CMake downloads {project} during the build ({name}: {call[1]} of {fetched[2]}), "
                    "which no hash here pins"
                )
