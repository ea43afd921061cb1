"""The record of all compile units of a build: its own and those of the libraries that its recipe builds."""

from __future__ import annotations

from pathlib import Path

from builder.compile.compilers import compiler_of
from builder.compile.layout import library_folder
from builder.compile.rust import read_crates
from builder.compile.units import collect_units, read_dropped, read_record
from builder.errors import CompileError
from builder.model.build import Build
from builder.model.units import UnitRecord
from builder.toolbox.toolbox import Toolbox

_GAPS = {
    "bazel": "Bazel answers actions from its own caches without a call of the compiler",
    "cibuildwheel": "the compiler of the container is called without our scripts",
}


def build_record(build: Build, toolbox: Toolbox, work: Path) -> UnitRecord:
    """The units of a build that has ended in the folder ``work``.

    Raises:
        CompileError: a library's folder has no record.
    """
    units = collect_units(compiler_of(build, toolbox).optimisation, work, work / "src")
    units += read_crates(work)
    for library in build.built:
        folder = library_folder(library, build, toolbox)
        record = read_record(folder)
        if record is None:
            raise CompileError(f"{folder} has no record of its compile units; delete it to build it again")
        units += tuple(
            unit.model_copy(update={"unit": f"{library.name}:{unit.unit}"}) for unit in record.units
        )
    gaps = _GAPS.get(build.recipe.build.frontend, "")
    return UnitRecord(units=units, gaps=gaps, dropped=read_dropped(work))
