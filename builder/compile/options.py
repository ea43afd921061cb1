"""Finds misspelt options before the build.

CMake does not report variables that nothing reads, and Meson reports an unknown option only once it runs.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from builder.errors import ConfigError

# No file of the package needs to contain CMake's own variables, nor those of FindPython and FetchContent.
_CMAKES_OWN = re.compile(r"CMAKE_|Python3?_|FETCHCONTENT_")
# Options of Meson itself (mesonbuild.com, "Built-in options"); those of a subproject have a colon.
_MESONS_OWN = re.compile(
    r"(b|c|cpp|fortran|cython|objc|rust)_|python\.|build\.|pkgconfig\.|backend|.*dir$|.*:"
    r"|(auto_features|buildtype|cmake_prefix_path|debug|default_(library|both_libraries)|errorlogs|force_fallback_for"
    r"|install_umask|layout|optimization|pkg_config_path|prefer_static|prefix|stdsplit|strip|unity|unity_size|vsenv"
    r"|warning_level|werror|wrap_mode)$"
)
_MESON_OPTION = re.compile(r"\boption\(\s*'([^']+)'")
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


def unknown_meson_options(options: Iterable[str], tree: Path, whose: str) -> Iterator[str]:
    """Each option ``-DNAME=VALUE`` that neither Meson nor the option file of the source has, in a sentence."""
    files = [tree / name for name in ("meson.options", "meson_options.txt")]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file()]
    known = {name for text in texts for name in _MESON_OPTION.findall(text)}
    for option in options:
        name = option.removeprefix("-D").split("=")[0]
        if option.startswith("-D") and name not in known and not _MESONS_OWN.match(name):
            near = difflib.get_close_matches(name, known, n=1)
            advice = f", did you mean -D{near[0]}?" if near else ""
            yield f"{whose}: no option file of the source has -D{name}{advice}"


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
