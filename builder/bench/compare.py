"""Measures a wheel and the wheels that people have instead of it, and keeps what was measured."""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import FileLock
from packaging.version import Version

from builder.audit import open_wheel
from builder.bench.install import facts, fetch_reference, installed
from builder.bench.judge import judge
from builder.bench.measure import Bencher, StepReport, Suite, program_for, workloads_of
from builder.bench.model import BENCH_VERSION, PUBLISHED, BenchReport, BenchVerdict, Measured, WheelFacts
from builder.digests import digest
from builder.folders import script
from builder.model.build import Build
from builder.model.pythons import installable_tags
from builder.whole import sha256_of, write_text


def bench_wheel(
    wheel: Path, build: Build, machine: Bencher, home: Path, previous: Path | None, progress: StepReport
) -> BenchVerdict:
    """Hold a wheel against PyPI's wheel of its version, or the newest, and against the one published last.

    Raises:
        ToolboxError: an index does not answer, or a file does not match its hash.
        VerifyError: a wheel cannot be installed, or the emulator cannot be started.
    """
    project, about = build.recipe.project, facts(wheel)
    program = program_for(project, script(build.recipe.verify.script))
    others = _others(build, about, machine, home, previous)
    if program is None or not others:
        note = f"there is no other wheel of {project} for {build.python} to hold it against"
        return judge(about.sha256, build.target, (), build.recipe.bench.allow, note)
    suite = Suite(
        program=program, workloads=workloads_of(program), requires=tuple(build.recipe.test_requires)
    )

    def measured(path: Path, facts_of: WheelFacts) -> Measured:
        label = f"{facts_of.label}: "
        return measure_once(path, facts_of, machine, suite, home, lambda step: progress(label + step))

    own = measured(wheel, about)
    reports = [
        BenchReport(
            project=project,
            version=build.version,
            python=build.python,
            machine=machine.machine,
            workloads=suite.workloads,
            reference_note=note,
            measured=(measured(path, facts_of), own),
        )
        for path, facts_of, note in others
    ]
    return judge(about.sha256, build.target, reports, build.recipe.bench.allow)


def _others(
    build: Build, about: WheelFacts, machine: Bencher, home: Path, previous: Path | None
) -> list[tuple[Path, WheelFacts, str]]:
    """The wheels that people have instead, each with its facts and its origin."""
    found = []
    tags = installable_tags(build.python, machine.platforms())
    pypi = fetch_reference(build.recipe.project, build.version, tags, home / "downloads", or_newest=True)
    if pypi is not None:
        version = Version(open_wheel(pypi).version).public
        same = Version(version) == Version(build.version)
        note = "" if same else f", the newest: there is none of {build.version}"
        label = "PyPI" if same else f"PyPI {version}"
        found.append((pypi, facts(pypi, label), f"held against {pypi.name} of pip's index{note}"))
    if previous is not None:
        found.append((previous, facts(previous, PUBLISHED), f"held against {previous.name}"))
    return [(path, other, note) for path, other, note in found if other.sha256 != about.sha256]


def measure_once(
    path: Path,
    about: WheelFacts,
    machine: Bencher,
    suite: Suite,
    home: Path,
    progress: StepReport,
) -> Measured:
    """Measure a wheel unless these counts are kept. Counts of the same wheel and machine are always the same."""
    key = {
        "bench": BENCH_VERSION,
        "machine": machine.machine.model_dump(mode="json"),
        "programs": {
            part.name: sha256_of(part) for part in (*suite.program, suite.program[0].with_name("kit.py"))
        },
        "workloads": [workload.name for workload in suite.workloads],
        "beside": list(suite.requires),
    }
    kept = home / "out/counts" / f"{about.sha256[:24]}-{digest(key)[:12]}.json"
    if kept.is_file():
        found = Measured.model_validate_json(kept.read_text(encoding="utf-8"))
        return found.model_copy(update={"wheel": about})
    result = measure(path, about, machine, suite, home, progress)
    if all(row.state in ("ran", "unavailable") for row in result.rows):  # a failure may be the machine's
        write_text(kept, result.model_dump_json(indent=1) + "\n")
    return result


def measure(
    path: Path,
    about: WheelFacts,
    machine: Bencher,
    suite: Suite,
    home: Path,
    progress: StepReport,
) -> Measured:
    """Install a wheel and run the workloads.

    Raises:
        VerifyError: it cannot be installed, or the machine cannot be started.
    """
    # The folder is named by the wheel, and so the same in each run: the length of a path is counted too.
    folder = home / "bench" / about.sha256[:16]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            progress("installing")
            machine.install(path, folder / "site", suite.requires)
            packages = installed(folder / "site")
            names = [workload.name for workload in suite.workloads]
            rows = machine.measure(suite.program, names, folder / "site", progress)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return Measured(wheel=about, packages=packages, rows=rows)
