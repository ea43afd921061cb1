"""Finds misspelt CMake variables before the build; CMake does not report variables that nothing reads."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from builder.errors import ConfigError

# No file of the package needs to contain CMake's own variables, nor those of FindPython and FetchContent.
_CMAKES_OWN = re.compile(r"CMAKE_|Python3?_|FETCHCONTENT_")
_WORD = re.compile(rb"\w+")


def check_cmake_variables(options: Iterable[str], tree: Path, whose: str) -> None:
    """Check that a CMake file of ``tree`` contains the NAME of each option ``-DNAME=VALUE``.

    Raises:
        ConfigError: with every other name, and the nearest name in the source.
    """
    names = {option.removeprefix("-D").split("=")[0] for option in options if option.startswith("-D")}
    asked = {name.split(":")[0] for name in names if not _CMAKES_OWN.match(name)}
    if not asked:
        return
    known = _words(tree)
    # find_package(NAME) reads NAME_DIR and NAME_ROOT, which no file of the package needs to contain.
    packages = {f"{word}{ending}" for word in known for ending in ("_DIR", "_ROOT")}
    faults = []
    for name in sorted(asked - known - packages):
        near = difflib.get_close_matches(name, (word for word in known if word.isupper()), n=1, cutoff=0.8)
        faults.append(f"-D{name}" + (f", did you mean -D{near[0]}?" if near else ""))
    if faults:
        raise ConfigError(f"{whose}: no CMake file of the source reads {'; nor '.join(faults)}")


def _words(tree: Path) -> set[str]:
    """Every word of the CMake files in ``tree``, except for files that CMake itself wrote into ``build``."""
    words: set[bytes] = set()
    for folder, below, files in os.walk(tree):
        if Path(folder) == tree and "build" in below:
            below.remove("build")
        for file in files:
            if file.startswith("CMakeLists.txt") or file.endswith((".cmake", ".cmake.in")):
                words.update(_WORD.findall(Path(folder, file).read_bytes()))
    return {word.decode("ascii", "replace") for word in words}
