"""One-word compiler commands for a build: the compiler, its version, its target and its flags in one script.

Build systems want a compiler that is one word. A wrapper also keeps the rule of one flag family: what a build
asks for by ``-march`` (a dispatch unit, say) is turned into extensions of our ``-mcpu``, since GCC drops
extensions where both stand. Each unit records the machine flags it was compiled with in ``.GCC.command.line``.

Between the wrapper and the compiler stands ccache, so that a unit that two targets compile alike is compiled once.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.compile.cost import cache_log
from builder.errors import ConfigError
from builder.model.build import Build
from builder.settings import index_url, variable
from builder.toolbox.toolbox import Toolbox

WRAPPER_VERSION = 4
"""Raised by hand when a wrapper would call its compiler differently; it enters the compile digest."""

GCC_WRAPPER_VERSION = 1
"""The same, where it concerns GCC alone."""

BASELINE_CPU = "generic"

ZIG_EXTENSIONS = {"fp16": "fullfp16", "simd": "neon", "fp": "fp_armv8", "memtag": "mte", "profile": "spe"}
"""GNU extension names (GCC manual, AArch64 options) where LLVM's feature has another name."""


_ARMV8_1 = "+crc+lse+rdma"
_ARMV8_4 = f"{_ARMV8_1}+rcpc+flagm+fp16fml+dotprod"
_ARMV8_6 = f"{_ARMV8_4}+sb+ssbs+predres+bf16+i8mm"
GNU_LEVELS = {
    "armv8.1-a": _ARMV8_1,
    "armv8.2-a": _ARMV8_1,
    "armv8.3-a": f"{_ARMV8_1}+rcpc",
    "armv8.4-a": _ARMV8_4,
    "armv8.5-a": f"{_ARMV8_4}+sb+ssbs+predres",
    "armv8.6-a": _ARMV8_6,
    "armv9-a": f"{_ARMV8_4}+sb+ssbs+predres+sve2",
}
"""What an architecture level asked for by ``-march`` means as extensions of a CPU (GCC manual, AArch64 options)."""


@dataclass(frozen=True, kw_only=True)
class Commands:
    """The wrappers of one build, by the names build systems ask for."""

    cc: Path
    cxx: Path
    ar: Path
    ranlib: Path
    strip: Path


def write_wrappers(
    build: Build, toolbox: Toolbox, folder: Path, *, tuned: bool = True, libraries: Sequence[Path] = ()
) -> Commands:
    """Write the wrappers of ``build`` into ``folder``; without ``tuned`` every unit is for the baseline.

    In the folders ``libraries`` lies what the libraries that are linked ask for in turn.

    Raises:
        ConfigError: the compiler is not one we can drive.
    """
    folder.mkdir(parents=True, exist_ok=True)
    match build.compiler:
        case "zig":
            scripts = _zig_scripts(build, toolbox, folder, tuned)
        case "gcc":
            scripts = _gcc_scripts(build, toolbox, folder, tuned, libraries)
        case other:
            raise ConfigError(f"no wrapper for compiler '{other}'; known are gcc and zig")
    paths = {}
    for name, text in scripts.items():
        path = folder / f"aarch64-linux-gnu-{name}"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        paths[name] = path
    return Commands(
        cc=paths["cc"], cxx=paths["c++"], ar=paths["ar"], ranlib=paths["ranlib"], strip=paths["strip"]
    )


def write_ninja_in_turn(build: Build, toolbox: Toolbox, folder: Path, ninja: Path) -> None:
    """Write a ``ninja`` into ``folder`` that waits while another target of the same recipe compiles.

    Two at once would both miss what one of them can hand to the other. What CMake asks of ninja while it configures
    (its version, its tools, small trial builds) does not wait. The turn ends with ninja, whatever ends that: see
    flock(1).
    """
    turn = toolbox.home / "work" / f"{build.recipe.project}-{build.version}-{build.python}.turn"
    path = folder / "ninja"
    path.write_text(
        "#!/bin/sh\n"
        # A ninja below another one has its turn already: CMake writes the build files anew in mid-build.
        f'case "$ARMWHEELS_TURN $PWD" in held*|*/CMakeFiles/*) exec {ninja} "$@";; esac\n'
        f'case " $* " in *" --version "*|*" -t "*) exec {ninja} "$@";; esac\n'
        # One failure must not hide the next of a build that takes hours.
        f'ARMWHEELS_TURN=held exec flock {turn} {ninja} "$@" -k 20\n',
        encoding="utf-8",
    )
    path.chmod(0o755)


_COMPILER = """#!/bin/sh
# {compiler} {version} for {flags}
# A unit is compiled for the target; a mere link, and units outside the recipe's hot paths, for the baseline.
cpu={baseline}
extensions=
hot=
kept=
linked=
compiled=
for argument; do
    case "$argument" in
        -o) linked=1;;
        -c|-S|-E) compiled=1;;
        -|*.c|*.cc|*.cpp|*.cxx|*.C|*.c++|*.S|*.s|*.sx|*.m)
            case "$argument" in {hot}) cpu={cpu}; hot="{hot_flags}";; esac
            case "$argument" in {foreign}) cpu={baseline};; esac;;
        -O*|-f[a-z]*) case "$argument" in *[=/]*|-fdiagnostics*) ;; *) kept="$kept $argument";; esac;;
    esac
done
count=$#
while [ "$count" -gt 0 ]; do
    argument=$1
    shift
    count=$((count - 1))
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
{command}
"""


def _case_patterns(paths: tuple[str, ...], without: str) -> str:
    """The shell's patterns for ``paths``, wherever they lie; ``without`` where there are none."""
    return (
        "|".join("*" + "*".join(shlex.quote(part) for part in path.split("*")) for path in paths) or without
    )


def _cpu(build: Build) -> str:
    return build.flags[0].removeprefix("-mcpu=")


def _compiler(build: Build, extensions: dict[str, str], command: str, tuned: bool) -> str:
    cases = "\n".join(
        f'                    {name}) extensions="$extensions{value}";;' for name, value in extensions.items()
    )
    return _COMPILER.format(
        compiler=build.compiler,
        version=build.compiler_version,
        flags=" ".join(build.flags),
        baseline=BASELINE_CPU,
        cpu=_cpu(build) if tuned else BASELINE_CPU,
        hot=_case_patterns(build.recipe.build.hot_paths, without="*"),
        foreign=_case_patterns(build.foreign_paths, without="''"),
        hot_flags=" ".join(build.recipe.build.hot_flags),
        extensions=cases,
        command=command,
    )


def cache_variables(build: Build, toolbox: Toolbox, work: Path) -> dict[str, str]:
    """What tells ccache where to keep what, and by what it knows a compiler (ccache(1), "Configuration").

    The compiler is known by its version and the pins of its tools. Folders of builds do not count: paths below
    ``work`` are taken relative, so that builds in different folders share.
    """
    shared = {}
    if variable("ARMWHEELS_SHARED_CACHE") == "on" and (index := index_url()):
        # The index keeps a cache for all its builders; one that does not answer costs nothing but the look.
        token = variable("ARMWHEELS_TOKEN") or ""
        shared["CCACHE_REMOTE_STORAGE"] = f"{index.rstrip('/')}/api/cache|layout=flat|bearer-token={token}"
    tools = "".join(toolbox.pins.digest(tool) for tool in toolbox.toolchains.compilers[build.compiler].tools)
    return {
        "CCACHE_DIR": str(toolbox.home / "cache/ccache"),
        "CCACHE_BASEDIR": str(work),
        "CCACHE_NOHASHDIR": "1",
        "CCACHE_COMPILERCHECK": f"string:{build.compiler} {build.compiler_version} {tools}",
        "CCACHE_COMPILERTYPE": "clang" if build.compiler == "zig" else "gcc",
        "CCACHE_MAXSIZE": "20G",
        "CCACHE_STATSLOG": str(cache_log(work)),
        **shared,
    }


def _nameless(toolbox: Toolbox, folder: Path) -> str:
    """Keeps the names of build folders out of objects (GCC manual, ``-ffile-prefix-map``).

    The build's own folder lies in the toolbox's home: GCC takes the last map that fits, clang the longest.
    """
    return f"-ffile-prefix-map={toolbox.home}=. -ffile-prefix-map={folder.parent}=."


def _zig_scripts(build: Build, toolbox: Toolbox, folder: Path, tuned: bool) -> dict[str, str]:
    zig = shlex.quote(str(toolbox.zig()))
    ccache = shlex.quote(str(toolbox.ccache()))
    levels = {f"armv8.{n}-a": f"+v8_{n}a" for n in range(1, 10)}
    renamed = {name: f"+{feature}" for name, feature in ZIG_EXTENSIONS.items()}
    # zig's own helper functions come as one object with weak, slower copies of exp, sin and their like, which win
    # over the C library's as soon as one of the helpers is wanted. libgcc, named before, leaves nothing to want.
    helpers = toolbox.ensure("libgcc") / "usr/lib/gcc/aarch64-linux-gnu/10/libgcc.a"
    # zig makes debug information and traps on undefined behaviour unless told otherwise; neither is for a wheel.
    flags = f"-target aarch64-linux-gnu.{build.recipe.build.glibc} -g0 -fno-sanitize=undefined "
    flags += _nameless(toolbox, folder)

    def compiler(tool: str) -> str:
        record = f'"{build.compiler} {build.compiler_version} -mcpu=$cpu$extensions$kept${{hot:+ $hot}}"'
        return (
            f'case "$linked,$compiled" in 1,) set -- "$@" {helpers};; esac\n'
            f'exec {ccache} {zig} {tool} {flags} "-mcpu=$cpu$extensions" '
            f'-Xclang -record-command-line -Xclang {record} "$@" $hot'
        )

    return {
        "cc": _compiler(build, levels | renamed, compiler("cc"), tuned),
        "c++": _compiler(build, levels | renamed, compiler("c++"), tuned),
        "ar": f'#!/bin/sh\nexec {zig} ar "$@"\n',
        "ranlib": f'#!/bin/sh\nexec {zig} ranlib "$@"\n',
        # A wheel keeps its symbol table, by which the audit names what it finds.
        "strip": "#!/bin/sh\nexit 0\n",
    }


def _gcc_scripts(
    build: Build, toolbox: Toolbox, folder: Path, tuned: bool, libraries: Sequence[Path]
) -> dict[str, str]:
    gnu = toolbox.ensure("gnu") / "usr/bin"
    ccache = shlex.quote(str(toolbox.ccache()))
    sysroot = toolbox.ensure("sysroot-bullseye")
    # The sysroot's own libstdc++ goes before the compiler's newer one, in headers and at link.
    # So does its libgcc_s, where another of its libraries asks for it.
    search = (
        f"--sysroot={sysroot} -L{sysroot}/usr/lib/gcc/aarch64-linux-gnu/10 -L{sysroot}/lib/aarch64-linux-gnu "
        f"-Wl,-rpath-link,{sysroot}/lib/aarch64-linux-gnu -Wl,-rpath-link,{sysroot}/usr/lib/aarch64-linux-gnu"
    )
    cxx = (
        f"-nostdinc++ -isystem {sysroot}/usr/include/c++/10 "
        f"-isystem {sysroot}/usr/include/aarch64-linux-gnu/c++/10 -isystem {sysroot}/usr/include/c++/10/backward"
    )
    link = "-Wl,-z,max-page-size=0x10000 -Wl,--enable-new-dtags"
    link += "".join(f" -Wl,-rpath-link,{one}" for one in libraries)
    # Last, so that no header of theirs goes before the package's own.
    parts = [toolbox.ensure(part) / "usr" for part in build.recipe.build.libraries]
    theirs = " ".join(
        f"-idirafter {part}/include -L{part}/lib/aarch64-linux-gnu -Wl,-rpath-link,{part}/lib/aarch64-linux-gnu"
        for part in parts
    )

    # The compiler calls helpers (``__aarch64_cas8_sync``) that the older libgcc of the sysroot lacks.
    helpers = toolbox.ensure("gnu") / "usr/lib/gcc-cross/aarch64-linux-gnu/12/libgcc.a"

    def compiler(name: str) -> str:
        return (
            f'case "$linked,$compiled" in 1,) set -- "$@" {helpers};; esac\n'
            f'exec {ccache} {folder}/aarch64-linux-gnu-bare-{name} "-mcpu=$cpu$extensions" "$@" $hot'
        )

    def behind_cache(name: str, extra: str) -> str:
        """What is the same for every unit; ccache would tie units that record their switches to their folder."""
        return (
            f"#!/bin/sh\nexec {gnu}/aarch64-linux-gnu-{name}-12 {search} {extra} {link} "
            f'{_nameless(toolbox, folder)} -frecord-gcc-switches "$@" {theirs}\n'
        )

    def tool(name: str) -> str:
        return f'#!/bin/sh\nexec {gnu}/aarch64-linux-gnu-{name} "$@"\n'

    return {
        "cc": _compiler(build, GNU_LEVELS, compiler("gcc"), tuned),
        "c++": _compiler(build, GNU_LEVELS, compiler("g++"), tuned),
        "bare-gcc": behind_cache("gcc", ""),
        "bare-g++": behind_cache("g++", cxx),
        "ar": tool("ar"),
        "ranlib": tool("ranlib"),
        "strip": "#!/bin/sh\nexit 0\n",
    }
