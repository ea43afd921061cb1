"""GCC: Debian's cross compiler over an older Debian's sysroot, for C++ that shares the libstdc++ ABI."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from builder.compile.compilers.base import Commands, Wrapping, compiler_script, library_flags, prefix_maps
from builder.model.build import Build
from builder.model.toolchains import FortranTool, GnuCompiler
from builder.toolbox.older_glibc import with_older_glibc
from builder.toolbox.toolbox import Toolbox

_ARMV8_1 = "+crc+lse+rdma"
_ARMV8_4 = f"{_ARMV8_1}+rcpc+flagm+fp16fml+dotprod"
_ARMV8_6 = f"{_ARMV8_4}+sb+ssbs+predres+bf16+i8mm"
_EXTENSIONS = {
    # The extensions that an architecture level stands for (GCC manual, AArch64 options).
    "armv8.1-a": _ARMV8_1,
    "armv8.2-a": _ARMV8_1,
    "armv8.3-a": f"{_ARMV8_1}+rcpc",
    "armv8.4-a": _ARMV8_4,
    "armv8.5-a": f"{_ARMV8_4}+sb+ssbs+predres",
    "armv8.6-a": _ARMV8_6,
    "armv9-a": f"{_ARMV8_4}+sb+ssbs+predres+sve2",
}


_FORTRAN = """\
# Messages of libgfortran name the source as the command line does: no build folder may be in it.
count=$#
while [ "$count" -gt 0 ]; do
    argument=$1
    shift
    count=$((count - 1))
    case "$argument" in
        /*.[fF]|/*.[fF][0-9][0-9]|/*.for|/*.FOR|/*.ftn|/*.FTN|/*.fpp|/*.FPP)
            argument=$(realpath -s --relative-to=. "$argument");;
    esac
    set -- "$@" "$argument"
done
# The compiler's own record (-frecord-gcc-switches) would name folders of modules. ccache knows no Fortran.
record={record}
printf '.section .GCC.command.line,"MS",@progbits,1\\n.string "%s"\\n' \\
    "GNU Fortran {release} -mcpu=$cpu$extensions$kept${{hot:+ $hot}}" >"$record" || exit 1
{bare} "-mcpu=$cpu$extensions" "-Wa,$record" "$@" $hot
status=$?
rm -f "$record"
exit "$status"
"""

_NATIVE = platform.machine() == "aarch64"
_OWN = "gcc" if _NATIVE else "gcc-cross"
"""The folder of a compiler's own files, below ``usr/lib``."""

STAGE = 1
"""Raise this by hand when the scripts below call GCC differently. It enters the compile digest."""


@dataclass(frozen=True)
class Gnu:
    """One release of GCC over one sysroot.

    For a recipe that promises an older glibc than the sysroot's, the sysroot is a copy that shows that one
    (:mod:`builder.toolbox.older_glibc`).
    """

    name: str
    table: GnuCompiler
    family: str = "gcc"
    stage: int | None = STAGE
    baseline_cpu: str = "generic"
    cache_type: str = "gcc"

    @property
    def library_parts(self) -> tuple[str, ...]:
        return (self.table.sysroot,)

    @property
    def licence_parts(self) -> tuple[str, ...]:
        return self.table.licences

    @property
    def _release(self) -> str:
        """The number in the names of Debian's programs and folders."""
        return self.table.version.partition(".")[0]

    def optimisation(self, level: str) -> tuple[str, bool]:
        return "-O1" if level == "-O" else level, False

    def scripts(self, wrapping: Wrapping) -> dict[str, str]:
        toolbox, folder = wrapping.toolbox, wrapping.folder
        part = toolbox.ensure(self.table.part)
        programs = part / "usr/bin"
        ccache = shlex.quote(str(toolbox.ccache()))
        # The compiler calls helpers (`__aarch64_cas8_sync`) that the older libgcc of the sysroot lacks.
        helpers = part / f"usr/lib/{_OWN}/aarch64-linux-gnu/{self._release}/libgcc.a"

        link = f'case "$linked,$compiled" in 1,) set -- "$@" {helpers};; esac\n'

        def compiler(name: str) -> str:
            bare = f"{folder}/aarch64-linux-gnu-bare-{name}"
            command = f'{link}exec {ccache} {bare} "-mcpu=$cpu$extensions" "$@" $hot'
            return compiler_script(self, wrapping, _EXTENSIONS, command)

        def fortran() -> str:
            command = link + _FORTRAN.format(
                record=f"{folder}/fortran-$$.s",
                release=self.table.version,
                bare=f"{folder}/aarch64-linux-gnu-bare-gfortran",
            )
            return compiler_script(self, wrapping, _EXTENSIONS, command)

        def tool(name: str) -> str:
            return f'#!/bin/sh\nexec {programs}/aarch64-linux-gnu-{name} "$@"\n'

        return {
            "cc": compiler("gcc"),
            "c++": compiler("g++"),
            **({"fc": fortran()} if self._fortran(wrapping) else {}),
            **self._bare_scripts(wrapping, part),
            "ar": tool("ar"),
            "ranlib": tool("ranlib"),
            # A wheel keeps its symbol table, by which the audit names what it finds.
            "strip": "#!/bin/sh\nexit 0\n",
        }

    def _fortran(self, wrapping: Wrapping) -> FortranTool | None:
        return self.table.fortran if wrapping.build.recipe.build.fortran else None

    def _bare_scripts(self, wrapping: Wrapping, part: Path) -> dict[str, str]:
        """What ccache calls: flags that are the same for every unit.

        ``-frecord-gcc-switches`` is among them, since ccache would tie units compiled with it to their folder.
        """
        toolbox = wrapping.toolbox
        sysroot = self._sysroot(wrapping.build, toolbox)
        old = self.table.libstdcxx
        # The sysroot's own libstdc++ goes before the compiler's newer one, in headers and at link.
        # So does its libgcc_s, where another of its libraries asks for it.
        search = (
            f"--sysroot={sysroot} -L{sysroot}/usr/lib/gcc/aarch64-linux-gnu/{old} "
            f"-L{sysroot}/lib/aarch64-linux-gnu "
            f"-Wl,-rpath-link,{sysroot}/lib/aarch64-linux-gnu -Wl,-rpath-link,{sysroot}/usr/lib/aarch64-linux-gnu"
        )
        if _NATIVE:
            # Such a compiler looks for the assembler and the linker by their bare names.
            search = f"-B{part}/usr/bin/ {search}"
        fortran = self._fortran(wrapping)
        if fortran:
            # First for every linker: Meson links with the C compiler, and adds folders of the newer libgfortran.
            search += f" -L{toolbox.ensure(fortran.library)}/usr/lib/gcc/aarch64-linux-gnu/{old}"
        cxx = (
            f"-nostdinc++ -isystem {sysroot}/usr/include/c++/{old} "
            f"-isystem {sysroot}/usr/include/aarch64-linux-gnu/c++/{old} "
            f"-isystem {sysroot}/usr/include/c++/{old}/backward"
        )
        link = "-Wl,-z,max-page-size=0x10000 -Wl,--enable-new-dtags"
        link += "".join(f" -Wl,-rpath-link,{folder}" for folder in wrapping.libraries)
        last = library_flags(wrapping)

        def bare(home: Path, name: str, extra: str, record: str = "-frecord-gcc-switches ") -> str:
            return (
                f"#!/bin/sh\nexec {home}/usr/bin/aarch64-linux-gnu-{name}-{self._release} {search} {extra} {link} "
                f'{prefix_maps(wrapping)} {record}"$@" {last}\n'
            )

        scripts = {"bare-gcc": bare(part, "gcc", ""), "bare-g++": bare(part, "g++", cxx)}
        if fortran:
            # The driver of the Fortran part finds assembler, linker and start files in the compiler's.
            inner = f"gcc-cross/aarch64-linux-gnu/{self._release}/"
            places = (f"usr/libexec/{inner}", f"usr/lib/{inner}", "usr/aarch64-linux-gnu/bin/")
            found = " ".join(f"-B{part}/{place}" for place in places)
            home = toolbox.ensure(fortran.part)
            scripts["bare-gfortran"] = bare(home, "gfortran", found, record="")
        return scripts

    def _sysroot(self, build: Build, toolbox: Toolbox) -> Path:
        part, glibc = toolbox.ensure(self.table.sysroot), build.recipe.build.glibc
        return with_older_glibc(part, glibc) if Version(glibc) < Version(self.table.glibc) else part

    def folders(self, build: Build, toolbox: Toolbox) -> tuple[Path, ...]:
        made = self._sysroot(build, toolbox)
        return () if made == toolbox.ensure(self.table.sysroot) else (made,)

    def environment(self, toolbox: Toolbox) -> dict[str, str]:  # noqa: ARG002 - only other compilers need it
        return {}

    def warm_up(self, commands: Commands, environment: Mapping[str, str], work: Path) -> None:
        """GCC makes nothing at its first link."""
