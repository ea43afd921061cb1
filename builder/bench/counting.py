"""The emulated machine: dynamic instruction counts by a plugin of our own, compiled when it is first needed."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from builder.bench.classes import CLASSES, plugin_table
from builder.bench.install import install
from builder.bench.measure import Line, StepReport, collect, converse
from builder.bench.model import Machine, Row
from builder.emulation.environment import write_bytecode
from builder.errors import ToolboxError, VerifyError
from builder.model.pythons import program_of, version_of
from builder.targets import Target
from builder.toolbox.toolbox import Toolbox
from builder.whole import create_once

EMULATOR = "qemu-plugins"
SOURCE = Path(__file__).with_name("count.c")
CALLS = 3
"""Warm calls counted for each workload; the least of them is compared, their spread is told."""

_PLUGIN_TARGET = "x86_64-linux-gnu.2.17"
_GLIBC_MINOR = 36  # of the emulated userland, Debian 12
_OWN_MODELS = frozenset({"a64fx", "cortex-a57", "cortex-a72", "cortex-a76", "neoverse-n1"})


def counting_cpu(target: Target) -> tuple[str, int]:
    """The emulator's ``-cpu`` for a target and the SVE vector length in bits (0: no SVE).

    The vector length is always given: it decides the count of every SVE loop, and the emulator's default is not
    that of any server.
    """
    own = target.emulator is not None and target.emulator.cpu in _OWN_MODELS
    if "sve" not in target:
        return (target.emulator.cpu if own and target.emulator else "max,sve=off,sme=off"), 0
    length = target.vector_bytes
    model = target.name if own else "max,sme=off"
    return f"{model},sve-default-vector-length={length}", length * 8


class CountingMachine:
    """Runs a wheel under qemu 7.2 on one thread and counts what it executes."""

    def __init__(self, toolbox: Toolbox, target: Target, tag: str) -> None:
        self._toolbox = toolbox
        self._tag = tag
        self._cpu, bits = counting_cpu(target)
        self._fixed = {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "OPENBLAS_CORETYPE": target.blas,
            "PYTHONHASHSEED": "0",
        }
        package = toolbox.pins.files(EMULATOR)[0]
        own = not self._cpu.startswith("max")
        note = (
            f"the emulator's own model of {target}"
            if own
            else f"no model of {target} takes plugins: a CPU with every feature stands for it, and OpenBLAS is "
            "told its core; other code that asks for features or part numbers may choose otherwise on a real one"
        )
        self.machine = Machine(
            target=target.name,
            cpu=self._cpu,
            emulator=f"{package.name} {package.version}",
            vector_bits=bits,
            threads=(1,),
            environment=self._fixed,
            system=f"Debian 12, CPython {version_of(tag)}",
            note=note,
        )

    def platforms(self) -> list[str]:
        """manylinux tags of the emulated userland's glibc and older, best first."""
        tags = [f"manylinux_2_{minor}_aarch64" for minor in range(_GLIBC_MINOR, 16, -1)]
        return [*tags, "manylinux2014_aarch64", "linux_aarch64"]

    def install(self, wheel: Path, site: Path, beside: Sequence[str] = ()) -> None:
        """Install by uv for the foreign platform, and compile to bytecode by this machine's Python of the same tag.

        Without bytecode an import would be a count of the compiler. The standard library needs it too.
        """
        python = self._toolbox.build_python(self._tag)
        install(
            wheel,
            site,
            [
                *("--python-platform", f"aarch64-manylinux_2_{_GLIBC_MINOR}"),
                *("--python-version", version_of(self._tag), "--python", str(python)),
                *beside,
            ],
        )
        library = self._toolbox.userland(self._tag) / "usr/lib" / program_of(self._tag)
        write_bytecode(self._toolbox, self._tag, site, library)

    def measure(
        self, script: Path, workloads: Sequence[str], site: Path, progress: StepReport
    ) -> tuple[Row, ...]:
        """Count ``CALLS`` warm calls of each workload.

        Raises:
            ToolboxError: the plugin cannot be compiled. VerifyError: the emulator cannot be started.
        """
        marks: dict[str, tuple[Mapping[int, Counts], int]] = {}
        plugin = compile_plugin(self._toolbox)
        # A fixed name, not a temporary one: the length of each path is in the counts.
        scratch = site.parent / "scratch"
        scratch.mkdir(exist_ok=True)
        (scratch / "table").write_text(plugin_table(), encoding="ascii")

        def ask(names: Sequence[str]) -> tuple[list[Line], str]:
            out = scratch / "marks"
            out.unlink(missing_ok=True)
            command = self._command(plugin, scratch, [str(script), "count", str(CALLS), *names])
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
        return tuple(counted_row(answer, marks.get(name)) for name, answer in answers.items())

    def _command(self, plugin: Path, scratch: Path, arguments: Sequence[str]) -> list[str]:
        root = self._toolbox.userland(self._tag)
        return [
            str(self._toolbox.ensure(EMULATOR) / "usr/bin/qemu-aarch64"),
            *("-L", str(root), "-cpu", self._cpu, "-seed", "1"),
            *("-plugin", f"{plugin},table={scratch / 'table'},out={scratch / 'marks'}"),
            str(root / "usr/bin" / program_of(self._tag)),
            *arguments,
        ]

    def _variables(self, site: Path, scratch: Path) -> dict[str, str]:
        """A small environment, the same for everybody: its size shifts the stack."""
        return {
            "HOME": str(scratch),
            "LANG": "C.UTF-8",
            "PATH": "/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(site),
            **self._fixed,
        }


class Counts(dict[str, int]):
    """Instructions so far, by class, and under ``all`` their sum."""


def parse_marks(text: str) -> tuple[dict[int, Counts], int]:
    """The plugin's lines: counts at each mark, and the most CPUs (threads) that had been seen.

    Raises:
        VerifyError: a line is not what the plugin writes.
    """
    marks: dict[int, Counts] = {}
    seen = 0
    for line in text.splitlines():
        fields = line.split()
        if len(fields) != 3 + len(CLASSES) or not all(field.isdigit() for field in fields):
            raise VerifyError(f"the counting plugin wrote a line that is none of its own: {line[:80]}")
        number, cpus, total, *classes = map(int, fields)
        marks[number] = Counts(zip(CLASSES, classes, strict=True), all=total)
        seen = max(seen, cpus)
    return marks, seen


def counted_row(answer: Line, marks: tuple[Mapping[int, Counts], int] | None) -> Row:
    """A row from a script's answer and the marks it named; pure.

    Counters are exact for one thread: where more were seen the row says so.
    """
    name, state = answer["workload"], answer["state"]
    if state != "ran" or marks is None:
        return Row(workload=name, state=state, detail=answer.get("detail", ""))
    counts, cpus = marks
    at = [counts[number] for number in answer["marks"] if number in counts]
    if len(at) != len(answer["marks"]) or len(at) < 2:
        return Row(workload=name, state="failed", detail="the plugin saw none of its marks")
    calls = [{key: after[key] - before[key] for key in after} for before, after in pairwise(at)]
    least = min(calls, key=lambda call: call["all"])
    return Row(
        workload=name,
        state="ran",
        detail="" if cpus == 1 else f"{cpus} threads ran: not exact",
        instructions=tuple(call["all"] for call in calls),
        classes={key: least[key] for key in CLASSES if least[key]},
    )


def compile_plugin(toolbox: Toolbox, source: Path = SOURCE) -> Path:
    """A plugin as a shared object for this machine's emulator, compiled by zig once for each source.

    Raises:
        ToolboxError: zig refuses it.
    """
    named = hashlib.sha256(source.read_bytes() + toolbox.pins.digest("zig").encode()).hexdigest()[:12]
    final = toolbox.home / "bench" / f"{source.stem}-{named}.so"

    def compile_it(path: Path) -> None:
        cache = str(path.parent / "cache")
        done = subprocess.run(
            [
                *(str(toolbox.zig()), "cc", "-target", _PLUGIN_TARGET, "-std=c11", "-O2", "-Wall"),
                *("-Wextra", "-Werror", "-shared", "-fPIC", "-s", "-o", str(path), str(source)),
            ],
            env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ToolboxError(f"{source.name} does not compile:\n{done.stderr.strip()[-2000:]}")

    return create_once(final, compile_it)
