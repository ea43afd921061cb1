"""The emulated machine: qemu with a plugin that counts executed instructions. The plugin is compiled on demand."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path

from builder.bench.blocks import Executions, Marks, class_counts, instructions_of, parse_marks
from builder.bench.cycles import code_of, estimate
from builder.bench.mca import Simulator
from builder.bench.measure import Line, Program, StepReport, collect, converse
from builder.bench.model import IMPORT, Machine, Row
from builder.bench.traces import hot_traces
from builder.emulation.emulate import PLUGIN_MODELS, stand_in
from builder.emulation.install import glibc_of, install_for
from builder.emulation.roots import server_root
from builder.errors import VerifyError
from builder.model.pythons import program_of, version_of
from builder.model.target import Core
from builder.targets import Target
from builder.toolbox.compile_c import compile_shared
from builder.toolbox.toolbox import Toolbox
from builder.whole import create_once

EMULATOR = "qemu-plugins"
SOURCE = Path(__file__).with_name("count.c")
CALLS = 3
"""Warm calls that are counted for each workload. The lowest count is compared, and the spread is reported."""

_PLUGIN_TARGET = f"{platform.machine()}-linux-gnu.2.17"


class CountingMachine:
    """Runs a wheel under qemu 7.2 with one thread, and counts the executed instructions."""

    def __init__(self, toolbox: Toolbox, target: Target, tag: str) -> None:
        self._toolbox = toolbox
        self._tag = tag
        self._stand_in = stand_in(target, models=PLUGIN_MODELS)
        self._simulator = Simulator(toolbox, target.core, self._stand_in.vector_bits)
        self._fixed = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        self._glibc_minor = glibc_of(toolbox, tag)
        package = toolbox.pins.files(EMULATOR)[0]
        self.machine = Machine(
            target=target.name,
            server=target.server.name,
            cpu=self._stand_in.cpu,
            emulator=f"{package.name} {package.version}",
            vector_bits=self._stand_in.vector_bits,
            core=_described(target.core),
            threads=(1,),
            environment=self._fixed,
            system=f"Debian {toolbox.toolchains.pythons[tag].suite}, CPython {version_of(tag)}",
            note=self._stand_in.described(),
        )

    def platforms(self) -> list[str]:
        """Return the manylinux tags of the emulated userland's glibc and older ones, the best first."""
        tags = [f"manylinux_2_{minor}_aarch64" for minor in range(self._glibc_minor, 16, -1)]
        return [*tags, "manylinux2014_aarch64", "linux_aarch64"]

    def install(self, wheel: Path, site: Path, beside: Sequence[str] = ()) -> None:
        """Install a wheel for the emulated platform. The count of an import does not include the compiler."""
        install_for(self._toolbox, self._tag, wheel, site, beside)

    def measure(
        self, program: Program, workloads: Sequence[str], site: Path, progress: StepReport
    ) -> tuple[Row, ...]:
        """Count ``CALLS`` warm calls of each workload, and estimate the cycles of the one with the lowest count.

        Raises:
            ToolboxError: the plugin cannot be compiled, or a tool of LLVM fails.
            VerifyError: the emulator cannot be started.
        """
        marks: dict[str, Marks] = {}
        plugin = compile_plugin(self._toolbox)
        # A fixed name, since the length of a path affects the counts.
        scratch = site.parent / "scratch"
        scratch.mkdir(exist_ok=True)

        def ask(names: Sequence[str]) -> tuple[list[Line], str]:
            out = scratch / "marks"
            out.unlink(missing_ok=True)
            command = self._command(plugin, scratch, [*map(str, program), "count", str(CALLS), *names])
            lines, ending = converse(
                command, self._variables(site, scratch), scratch, lambda line: progress(line["workload"])
            )
            if not out.is_file():
                raise VerifyError(f"the counting plugin did not start: {ending}")
            read = parse_marks(out.read_text(encoding="ascii"))
            for line in lines:
                if line["state"] == "ran":
                    marks.setdefault(line["workload"], read)
            return lines, ending

        answers = collect(workloads, ask)
        rows = [counted_row(answer, marks.get(name)) for name, answer in answers.items()]
        progress("estimating cycles")
        traces = {
            row.workload: hot_traces(least_call(answers[row.workload], marks[row.workload]))
            for row in rows
            if row.instructions and row.workload != IMPORT
        }
        costs = self._simulator.costs({code_of(trace) for hot in traces.values() for trace in hot})
        return tuple(
            row.model_copy(update={"cycles": estimate(traces[row.workload], costs, row.count or 0)})
            if row.workload in traces
            else row
            for row in rows
        )

    def _command(self, plugin: Path, scratch: Path, arguments: Sequence[str]) -> list[str]:
        # This emulator finds the server's /proc/cpuinfo in the root: it needs no preload.
        root = server_root(self._toolbox, self._tag, self._stand_in.server)
        userland = self._toolbox.userland(self._tag)
        return [
            str(self._toolbox.ensure(EMULATOR) / "usr/bin/qemu-aarch64"),
            *("-L", str(root), "-cpu", self._stand_in.cpu, "-seed", "1"),
            *("-plugin", f"{plugin},out={scratch / 'marks'}"),
            str(userland / "usr/bin" / program_of(self._tag)),
            *arguments,
        ]

    def _variables(self, site: Path, scratch: Path) -> dict[str, str]:
        """Return a small environment that is equal on all machines, since its size shifts the stack."""
        return {
            "HOME": str(scratch),
            "LANG": "C.UTF-8",
            "PATH": "/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(site),
            **self._fixed,
        }


def counted_row(answer: Line, marks: Marks | None) -> Row:
    """Return the row of a workload, from its line and the plugin's output. Pure.

    The counts are exact for one thread only. With more threads, ``detail`` states this.
    """
    name, state = answer["workload"], answer["state"]
    if state != "ran" or marks is None:
        return Row(workload=name, state=state, detail=answer.get("detail", ""))
    calls = calls_of(answer, marks)
    if not calls:
        return Row(workload=name, state="failed", detail="the plugin's output lacks marks of this workload")
    return Row(
        workload=name,
        state="ran",
        detail="" if marks.threads == 1 else f"{marks.threads} threads ran, so the counts are not exact",
        instructions=tuple(map(instructions_of, calls)),
        classes=class_counts(least_call(answer, marks)),
    )


def calls_of(answer: Line, marks: Marks) -> list[Executions]:
    """The executed blocks of each call of a workload; empty if a mark is missing. A call ends with a mark."""
    numbers: list[int] = answer["marks"]
    if len(numbers) < 2 or not set(numbers) <= set(marks.executions):
        return []
    return [marks.executions[number] for number in numbers[1:]]


def least_call(answer: Line, marks: Marks) -> Executions:
    """The executed blocks of the call with the fewest instructions.

    Raises:
        ValueError: a mark is missing.
    """
    return min(calls_of(answer, marks), key=instructions_of)


def _described(core: Core) -> str:
    note = ", the nearest that LLVM has" if core.nearest else ""
    return f"LLVM's scheduling model of {core.model}{note}"


def compile_plugin(toolbox: Toolbox, source: Path = SOURCE) -> Path:
    """Return the path of the compiled plugin. zig compiles it once for each content of ``source``.

    Raises:
        ToolboxError: the source does not compile.
    """
    named = hashlib.sha256(source.read_bytes() + toolbox.pins.digest("zig").encode()).hexdigest()[:12]
    final = toolbox.home / "bench" / f"{source.stem}-{named}.so"

    def create(path: Path) -> None:
        cache = path.parent / "cache"
        compile_shared(toolbox, source, path, target=_PLUGIN_TARGET, cache=cache)

    return create_once(final, create)
