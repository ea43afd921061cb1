"""zig: clang with a C library of its own for any glibc. It shares no C++ ABI with libstdc++."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.compile.compilers.base import Commands, Wrapping, compiler_script, library_flags, prefix_maps
from builder.model.build import Build
from builder.model.toolchains import ZigCompiler
from builder.toolbox.toolbox import Toolbox

_EXTENSIONS = {f"armv8.{n}-a": f"+v8_{n}a" for n in range(1, 10)} | {
    # GNU names (GCC manual, AArch64 options) of features that LLVM calls differently.
    "fp16": "+fullfp16",
    "simd": "+neon",
    "fp": "+fp_armv8",
    "memtag": "+mte",
    "profile": "+spe",
}

_HOST_GLIBC = "2.28"


@dataclass(frozen=True)
class Zig:
    """One release of zig."""

    name: str
    table: ZigCompiler
    family: str = "zig"
    stage: int | None = None
    baseline_cpu: str = "generic"
    cache_type: str = "clang"
    library_parts: tuple[str, ...] = ()
    licence_parts: tuple[str, ...] = ()

    def optimisation(self, level: str) -> tuple[str, bool]:
        """What ``zig cc`` of this release passes to clang, as ``-###`` shows it.

        It knows four modes only: with ``-O3`` clang gets ``-O2``, and with ``-Og`` it gets ``-O0``.
        """
        match level:
            case "" | "-O0" | "-Og":
                return "-O0", False
            case "-O":
                return "-O1", False
            case "-Os" | "-Oz":
                return "-Os", True
            case _:
                return "-O2", True

    def scripts(self, wrapping: Wrapping) -> dict[str, str]:
        build, toolbox = wrapping.build, wrapping.toolbox
        zig = shlex.quote(str(toolbox.zig(self.table.part)))
        ccache = shlex.quote(str(toolbox.ccache()))
        # zig's own helper functions come as one object with weak, slower copies of exp, sin and others, and zig
        # compiles it, half a minute of one core, for each -mcpu. libgcc has the helpers.
        libgcc = toolbox.ensure(self.table.libgcc)
        helpers = libgcc / f"usr/lib/gcc/aarch64-linux-gnu/{self.table.libgcc_release}/libgcc.a"
        # By default zig makes debug information and traps on undefined behaviour; neither belongs in a wheel.
        flags = f"-target aarch64-linux-gnu.{build.recipe.build.glibc} -g0 -fno-sanitize=undefined "
        flags += prefix_maps(wrapping)
        last = f" {library_flags(wrapping)}" if build.recipe.build.libraries else ""
        # The audit reads the flags of each unit from its section .GCC.command.line.
        record = f'"{build.compiler} {build.compiler_version} -mcpu=$cpu$extensions$kept${{hot:+ $hot}}"'

        def compiler(tool: str) -> str:
            libraries = {"cc": "-lc", "c++": "-lc++ -lc"}[tool]
            command = (
                'case "$linked,$compiled, $* " in\n'
                '    *" -r "*|*" -nostdlib "*) ;;\n'
                f'    1,,*) set -- "$@" -nodefaultlibs {libraries} {helpers};;\n'
                "esac\n"
                f'exec {ccache} {zig} {tool} {flags} "-mcpu=$cpu$extensions" '
                f'-Xclang -record-command-line -Xclang {record} "$@" $hot{last}'
            )
            return compiler_script(self, wrapping, _EXTENSIONS, command)

        return {
            "cc": compiler("cc"),
            "c++": compiler("c++"),
            "ar": f'#!/bin/sh\nexec {zig} ar "$@"\n',
            "ranlib": f'#!/bin/sh\nexec {zig} ranlib "$@"\n',
            # A wheel keeps its symbol table, by which the audit names what it finds.
            "strip": "#!/bin/sh\nexit 0\n",
        }

    def folders(self, build: Build, toolbox: Toolbox) -> tuple[Path, ...]:  # noqa: ARG002 - GCC's alone
        return ()

    def environment(self, toolbox: Toolbox) -> dict[str, str]:
        cache = str(zig_cache(toolbox.home))
        return {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}

    def warm_up(self, commands: Commands, environment: Mapping[str, str], work: Path) -> None:
        """Make the C++ support libraries now, on one core, while the build configures itself on another.

        zig makes them at the first link, one file after the other, and keeps them in its cache.
        """
        source = work / "warm.cpp"
        source.write_text("#include <stdexcept>\nvoid warm(int n) { if (n) throw std::runtime_error({}); }\n")
        script = 'cd "$1" && "$2" -fPIC -c warm.cpp -o warm.o && "$2" -shared -fPIC -o warm.so warm.o'
        subprocess.Popen(
            ["/bin/sh", "-c", script, "warm", str(work), str(commands.cxx)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def zig_cache(home: Path) -> Path:
    """Where zig keeps the support libraries it has made, for all builds."""
    return home / "cache/zig"


_HOST_DRIVER = """\
#!/bin/sh
cc="${0%gcc}zigcc" cxx="${0%gcc}zigcxx"
for argument; do
    case "$argument" in
        *.c|*.S|*.s) exec "$cc" "$@";;
        *.cc|*.cpp|*.cxx|*.C|-shared) exec "$cxx" "$@";;
        @*) ! grep -qx -e -shared "${argument#@}" || exec "$cxx" "$@";;
    esac
done
# zig compiles its C++ library, minutes of one core, for whatever its C++ driver links: a program in C does without.
"$cc" "$@" 2>/dev/null || exec "$cxx" "$@"
"""


def host_scripts(zig: Path, cache: Path) -> dict[str, str]:
    """Scripts that compile for this machine, whichever compiler a recipe names; ``gcc`` calls the other two.

    The programs need an old C library only, so that they run in Bazel's root and outside of it.
    """
    run = f"ZIG_GLOBAL_CACHE_DIR={cache} ZIG_LOCAL_CACHE_DIR={cache} exec {shlex.quote(str(zig))}"
    flags = f"-target x86_64-linux-gnu.{_HOST_GLIBC} -g0 -fno-sanitize=undefined"
    return {
        "zigcc": f'#!/bin/sh\n{run} cc {flags} "$@"\n',
        "zigcxx": f'#!/bin/sh\n{run} c++ {flags} "$@"\n',
        "gcc": _HOST_DRIVER,
        "ar": f'#!/bin/sh\n{run} ar "$@"\n',
        "strip": "#!/bin/sh\nexit 0\n",
    }
