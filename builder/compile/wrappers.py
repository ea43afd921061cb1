"""The programs that a build calls instead of the compiler and of ninja, and the cache between them.

The compiler's scripts are those of :mod:`builder.compile.compilers`. They write their call
down (:mod:`builder.compile.units`) and call the compiler through ccache, so that a unit that two targets compile
alike is compiled once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builder.compile.compilers import compiler_of
from builder.compile.compilers.base import Commands, Wrapping
from builder.compile.cost import cache_log
from builder.compile.units import commands_folder
from builder.model.build import Build
from builder.settings import index_url, variable
from builder.toolbox.toolbox import Toolbox


def write_wrappers(
    build: Build, toolbox: Toolbox, folder: Path, *, tuned: bool = True, libraries: Sequence[Path] = ()
) -> Commands:
    """Write the wrapper scripts of ``build`` into ``folder``; the options are those of :class:`Wrapping`.

    Raises:
        ConfigError: there is no such compiler.
    """
    folder.mkdir(parents=True, exist_ok=True)
    commands_folder(folder.parent).mkdir(exist_ok=True)
    wrapping = Wrapping(build=build, toolbox=toolbox, folder=folder, tuned=tuned, libraries=libraries)
    paths = {}
    for name, text in compiler_of(build, toolbox).scripts(wrapping).items():
        path = folder / f"aarch64-linux-gnu-{name}"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        paths[name] = path
    return Commands(
        cc=paths["cc"],
        cxx=paths["c++"],
        ar=paths["ar"],
        ranlib=paths["ranlib"],
        strip=paths["strip"],
        fc=paths.get("fc"),
    )


def write_ninja_in_turn(build: Build, toolbox: Toolbox, folder: Path, ninja: Path) -> None:
    """Write a script ``ninja`` into ``folder`` that waits while another target of the same recipe compiles.

    Two targets that compile at once would both miss the cache for units that they share. CMake also calls ninja
    while it configures, for its version, its tools and trial builds: these calls do not wait. The kernel releases
    the lock when ninja ends for any reason (flock(1)).
    """
    lock = toolbox.home / "work" / f"{build.recipe.project}-{build.version}-{build.python}.turn"
    path = folder / "ninja"
    path.write_text(
        "#!/bin/sh\n"
        # A ninja inside another one has the lock already: CMake may write the build files again in mid-build.
        f'case "$ARMWHEELS_TURN $PWD" in held*|*/CMakeFiles/*) exec {ninja} "$@";; esac\n'
        f'case " $* " in *" --version "*|*" -t "*) exec {ninja} "$@";; esac\n'
        # -k 20: a build that takes hours should report more than its first failure.
        f'ARMWHEELS_TURN=held exec flock {lock} {ninja} "$@" -k 20\n',
        encoding="utf-8",
    )
    path.chmod(0o755)


def cache_variables(build: Build, toolbox: Toolbox, work: Path) -> dict[str, str]:
    """The variables that configure ccache (ccache(1), "Configuration").

    ccache identifies the compiler by its version and the pins of its tools. It takes paths below ``work`` as
    relative, so that builds in different folders share their units.
    """
    shared = {}
    if variable("ARMWHEELS_SHARED_CACHE") == "on" and (index := index_url()):
        # The index has a cache for all builders. If it does not answer, ccache compiles the unit.
        token = variable("ARMWHEELS_TOKEN") or ""
        shared["CCACHE_REMOTE_STORAGE"] = (
            f"{index.rstrip('/')}/api/cache|layout=flat|bearer-token={token}"
            "|connect-timeout=2000|operation-timeout=30000"  # milliseconds; ccache's own are 100 and 10000
        )
    tools = "".join(toolbox.pins.digest(tool) for tool in toolbox.toolchains.compilers[build.compiler].tools)
    return {
        "CCACHE_DIR": str(toolbox.home / "cache/ccache"),
        "CCACHE_BASEDIR": str(work),
        "CCACHE_NOHASHDIR": "1",
        "CCACHE_COMPILERCHECK": f"string:{build.compiler} {build.compiler_version} {tools}",
        "CCACHE_COMPILERTYPE": compiler_of(build, toolbox).cache_type,
        "CCACHE_MAXSIZE": "20G",
        # The change time of a header is new after a hard link to it, as a copy of the toolbox makes. ccache would
        # take it for a change of the header in mid-compile and keep nothing.
        "CCACHE_SLOPPINESS": "include_file_ctime",
        "CCACHE_STATSLOG": str(cache_log(work)),
        **shared,
    }
