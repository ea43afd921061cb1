"""What the builder asks of a compiler, and the shell script that all compilers share.

Build systems want a compiler that is one word, so each build gets wrapper scripts. A wrapper keeps to one family of
flags. A package gives ``-march`` for units that it calls only after a test at run time: the wrapper turns that into
extensions of our ``-mcpu``, since GCC drops the extensions where both are given.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from builder.compile.units import dropped_file, recording_script
from builder.model.build import Build
from builder.toolbox.toolbox import Toolbox

WRAPPER_VERSION = 5
"""Raise this by hand when the wrappers of all compilers call them differently. It enters the compile digest."""


@dataclass(frozen=True, kw_only=True)
class Commands:
    """The wrapper scripts of one build, by the names that build systems ask for; ``fc`` is for Fortran."""

    cc: Path
    cxx: Path
    ar: Path
    ranlib: Path
    strip: Path
    fc: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Wrapping:
    """One set of wrapper scripts to be written into ``folder``.

    Without ``tuned`` every unit is compiled for the baseline CPU. ``libraries`` are the folders where the linker
    finds the libraries that linked libraries need in turn.
    """

    build: Build
    toolbox: Toolbox
    folder: Path
    tuned: bool
    libraries: Sequence[Path]


class Compiler(Protocol):
    """All that the builder asks of a compiler."""

    @property
    def name(self) -> str:
        """The name in recipes, and of its table ``[compilers.NAME]`` in ``toolchains.toml``."""

    @property
    def family(self) -> str:
        """The key below ``[TARGET.flags]`` in ``targets.toml`` for its ``-mcpu``, and its name for Bazel."""

    @property
    def stage(self) -> int | None:
        """A number raised by hand when its own scripts change; it enters the compile digest unless ``None``."""

    @property
    def baseline_cpu(self) -> str:
        """The value of ``-mcpu`` for units outside a recipe's hot paths, which all targets share."""

    @property
    def cache_type(self) -> str:
        """How ccache reads its command line (ccache(1), ``compiler_type``)."""

    @property
    def library_parts(self) -> tuple[str, ...]:
        """Parts of the toolbox that it links wheels with: libraries of a wheel may be copied from there."""

    @property
    def licence_parts(self) -> tuple[str, ...]:
        """Parts of the toolbox with the licences of those libraries; they enter the wheel digest."""

    def optimisation(self, level: str) -> tuple[str, bool]:
        """The level that it takes for the last ``-O`` of its command line (empty without one), in GCC's spelling.

        The second value is whether it then defines ``NDEBUG`` by itself.
        """

    def scripts(self, wrapping: Wrapping) -> dict[str, str]:
        """The wrapper scripts by name: ``cc``, ``c++``, ``ar``, ``ranlib``, ``strip`` and any that these call.

        For a recipe with Fortran there is ``fc``, too.
        """

    def folders(self, build: Build, toolbox: Toolbox) -> tuple[Path, ...]:
        """Folders with headers that it reads for ``build``, besides the parts of the toolbox."""

    def environment(self, toolbox: Toolbox) -> dict[str, str]:
        """Variables that it needs in the environment of a build."""

    def warm_up(self, commands: Commands, environment: Mapping[str, str], work: Path) -> None:
        """Start, without waiting, what it would otherwise do at the first link of a build."""


_SCRIPT = """#!/bin/sh
# {compiler} {version} for {flags}
# A unit is compiled for the target; a mere link, and units outside the recipe's hot paths, for the baseline.
cpu={baseline}
extensions=
hot=
unit=
kept=
linked=
compiled=
lto=
for argument; do
    case "$argument" in -flto*) lto=1;; -fno-lto) lto=;; esac
    case "$argument" in
        -o) linked=1;;
        -c|-S|-E) compiled=1;;
        @*) unit=1;;
        -|*.c|*.cc|*.cpp|*.cxx|*.C|*.c++|*.S|*.s|*.sx|*.m|*.[fF]|*.[fF][0-9][0-9]|*.for|*.FOR|*.ftn|*.FTN|*.fpp|*.FPP)
            unit=1
            case "$argument" in {hot}) cpu={cpu}; hot="{hot_flags}";; esac
            case "$argument" in {foreign}) cpu={baseline};; esac;;
        -O*|-f[a-z]*) case "$argument" in *[=/]*|-fdiagnostics*) ;; *) kept="$kept $argument";; esac;;
    esac
done
# With -flto the link compiles, for the CPU that it is told.
case "$unit,$compiled,$lto" in ,,1) cpu={cpu};; esac
count=$#
option=
while [ "$count" -gt 0 ]; do
    argument=$1
    shift
    count=$((count - 1))
    # A search folder may be a word of its own. Those of this machine hold headers and libraries of its own CPU.
    case "$option$argument" in
        -I|-L|-isystem|-idirafter|-iquote) option=$argument; continue;;
        -I{home}/*|-L{home}/*|-isystem{home}/*|-idirafter{home}/*|-iquote{home}/*) ;;
        -[IL]/usr/include*|-[IL]/usr/local*|-[IL]/usr/lib*|-[IL]/lib*|-isystem/usr/*|-idirafter/usr/*|-iquote/usr/*)
            printf '%s\n' "$option$argument" >>{dropped}
            option=
            continue;;
    esac
    if [ -n "$option" ]; then
        set -- "$@" "$option"
        option=
    fi
    case "$argument" in
        -mcpu=*|-mtune=*|-g|-g[0-9]|-ggdb*) ;;
        # A run path into a build folder is of no use in a wheel, and its length would move what lies behind it.
        -Wl,-rpath,/*|-Wl,-rpath=/*) ;;
        -march=*)
            save=$IFS; IFS=+; set -f
            for extension in ${{argument#-march=}}; do
                case "$extension" in
{extensions}
                    armv[89]*) ;;
                    *) extensions="$extensions+$extension";;
                esac
            done
            IFS=$save; set +f;;
        *) set -- "$@" "$argument";;
    esac
done
{record}
{command}
"""


def compiler_script(
    compiler: Compiler, wrapping: Wrapping, extensions: Mapping[str, str], command: str
) -> str:
    """The script around one call of a compiler, ``command``.

    ``extensions`` maps names in ``-march`` to what this compiler appends to ``-mcpu`` for them. ``command`` may use
    the script's variables: ``$cpu$extensions`` is the value of ``-mcpu``, ``$hot`` holds the flags of hot units and
    ``$@`` all other arguments. ``$linked,$compiled`` is ``1,`` for a mere link.
    """
    build = wrapping.build
    cases = "\n".join(
        f'                    {name}) extensions="$extensions{value}";;' for name, value in extensions.items()
    )
    return _SCRIPT.format(
        compiler=build.compiler,
        version=build.compiler_version,
        flags=" ".join(build.flags),
        baseline=compiler.baseline_cpu,
        cpu=build.flags[0].removeprefix("-mcpu=") if wrapping.tuned else compiler.baseline_cpu,
        hot=_case_patterns(build.recipe.build.hot_paths, without="*"),
        foreign=_case_patterns(build.foreign_paths, without="''"),
        hot_flags=" ".join(build.recipe.build.hot_flags),
        extensions=cases,
        home=shlex.quote(str(wrapping.toolbox.home)),
        dropped=shlex.quote(str(dropped_file(wrapping.folder.parent))),
        record=recording_script(wrapping.folder.parent),
        command=command,
    )


def _case_patterns(paths: tuple[str, ...], without: str) -> str:
    """Patterns of the shell's ``case`` for ``paths``, in any folder; ``without`` if there are none."""
    return (
        "|".join("*" + "*".join(shlex.quote(part) for part in path.split("*")) for path in paths) or without
    )


def library_flags(wrapping: Wrapping) -> str:
    """Flags that find headers and libraries in the recipe's parts of the toolbox.

    They go last, so that none of these headers hides one of the package's own or of the C library.
    """
    flags = []
    for part in wrapping.build.recipe.build.libraries:
        root = wrapping.toolbox.ensure(part)
        for headers in ("usr/include", "usr/include/aarch64-linux-gnu"):
            flags += [f"-idirafter {root / headers}"]
        for libraries in ("usr/lib/aarch64-linux-gnu", "lib/aarch64-linux-gnu"):
            flags += [f"-L{root / libraries}", f"-Wl,-rpath-link,{root / libraries}"]
    return " ".join(flags)


def prefix_maps(wrapping: Wrapping) -> str:
    """Flags that keep the names of build folders out of objects (GCC manual, ``-ffile-prefix-map``).

    The build's own folder is inside the toolbox's home: GCC takes the last map that fits, clang the longest.
    """
    return f"-ffile-prefix-map={wrapping.toolbox.home}=. -ffile-prefix-map={wrapping.folder.parent}=."
