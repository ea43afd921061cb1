"""The real machine: measures seconds per call for several numbers of threads, on an aarch64 Linux host."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from packaging import tags

from builder.bench.measure import Line, Program, StepReport, collect, converse
from builder.bench.model import IMPORT, Machine, Row
from builder.emulation.install import install
from builder.errors import ConfigError
from builder.model.pythons import program_of, version_of
from builder.targets import Fit

SECONDS = 0.5
"""Seconds of measuring for each workload, wheel and number of threads. At least five samples are taken."""

Converse = Callable[[Sequence[str], Mapping[str, str], Path, Callable[[Line], None]], tuple[list[Line], str]]


def thread_counts(cores: int) -> tuple[int, ...]:
    """Return the powers of two below ``cores``, and ``cores``."""
    counts = {1, cores}
    count = 2
    while count < cores:
        counts.add(count)
        count *= 2
    return tuple(sorted(counts))


def pythons_here() -> list[str]:
    """Return the wheel tags of this machine's CPythons: the running one, then those on ``PATH``."""
    own = f"cp{sys.version_info.major}{sys.version_info.minor}"
    others = [tag for minor in range(9, 20) if shutil.which(program_of(tag := f"cp3{minor}"))]
    return list(dict.fromkeys([own, *others]))


def find_python(tag: str) -> Path:
    """Return this machine's CPython with a wheel tag.

    Raises:
        ConfigError: there is none on ``PATH``.
    """
    if tag == f"cp{sys.version_info.major}{sys.version_info.minor}":
        return Path(sys.executable)
    found = shutil.which(program_of(tag))
    if found is None:
        raise ConfigError(
            f"no {program_of(tag)} on this machine: install it, or bench a wheel for another one"
        )
    return Path(found)


class TimingMachine:
    """Runs wheels on this machine. ``talk`` runs a script; tests replace it."""

    def __init__(self, fit: Fit, tag: str, *, cores: int | None = None, talk: Converse = converse) -> None:
        self._python = find_python(tag)
        self._tag = tag
        self._talk = talk
        self.machine = Machine(
            target=fit.target.name,
            cpu=", ".join(fit.parts),
            server=None,
            emulator=None,
            vector_bits=None,
            threads=thread_counts(cores or len(os.sched_getaffinity(0))),
            environment={},
            system=f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}, "
            f"CPython {version_of(tag)}",
            note="wall time on a real machine; other load increases the median",
        )

    def platforms(self) -> list[str]:
        """Return the platform tags of this machine, the best first."""
        return list(tags.platform_tags())

    def install(self, wheel: Path, site: Path, beside: Sequence[str] = ()) -> None:
        """Install a wheel with uv for this machine's Python, and compile it to bytecode."""
        install(wheel, site, ["--python", str(self._python), "--compile-bytecode", *beside])

    def measure(
        self, program: Program, workloads: Sequence[str], site: Path, progress: StepReport
    ) -> tuple[Row, ...]:
        """Time the workloads and the import with each number of threads, in a new process each."""
        by_threads: dict[int, dict[str, Line]] = {}
        for threads in self.machine.threads:

            def ask(names: Sequence[str], threads: int = threads) -> tuple[list[Line], str]:
                return self._talk(
                    [str(self._python), *map(str, program), "time", str(SECONDS), *names],
                    self._variables(site, threads),
                    site.parent,
                    lambda line: progress(f"{line['workload']}, {threads} thread{'s'[: threads > 1]}"),
                )

            by_threads[threads] = collect(workloads, ask)
        return tuple(timed_row(name, by_threads) for name in (IMPORT, *workloads))

    def _variables(self, site: Path, threads: int) -> dict[str, str]:
        dropped = ("PYTHON", "OMP_", "OPENBLAS_", "VIRTUAL_ENV")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        return {
            **kept,
            "OMP_NUM_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": str(threads),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(site),
        }


def timed_row(name: str, by_threads: Mapping[int, Mapping[str, Line]]) -> Row:
    """Return the row of a workload, from its lines by number of threads. Pure.

    The state is that of the lowest number of threads. If the workload failed with more threads, the row keeps the
    other times, and ``detail`` has the failures.
    """
    answers = {threads: lines[name] for threads, lines in sorted(by_threads.items())}
    first = next(iter(answers.values()))
    if first["state"] != "ran":
        return Row(workload=name, state=first["state"], detail=first.get("detail", ""))
    failed = {threads: line for threads, line in answers.items() if line["state"] != "ran"}
    return Row(
        workload=name,
        state="ran",
        detail="; ".join(f"{threads} threads: {line.get('detail', '')}" for threads, line in failed.items()),
        seconds={
            threads: tuple(line["seconds"]) for threads, line in answers.items() if line["state"] == "ran"
        },
    )
