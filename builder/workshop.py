"""Runs one build through its stages, and keeps the output of each stage under its digest.

Outputs are complete or absent (:mod:`builder.whole`). A stage whose output exists is skipped, so that the next run
continues a killed one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from builder.audit import AUDIT_VERSION, AuditReport, audit_wheel
from builder.audit.libraries import rules_digest
from builder.audit.variant import least
from builder.bench.compare import bench_wheel
from builder.bench.counting import CountingMachine
from builder.bench.model import BenchVerdict
from builder.child import Report, call_in_child
from builder.compile import FINISHED, Driver, Progress
from builder.compile.bazel import BazelDriver
from builder.compile.container import ContainerDriver
from builder.compile.cost import Cost, keep_cost, read_cost
from builder.compile.cross import CrossDriver
from builder.compile.record import build_record
from builder.compile.units import delete_commands, read_record, write_record
from builder.digests import digest
from builder.emulation.emulate import lesser_stand_in, stand_in
from builder.emulation.native import own_cpu
from builder.emulation.roots import root_key
from builder.emulation.verify import VERIFY_VERSION, Check, VerifyReport, verify, verify_component
from builder.errors import AuditError
from builder.folders import script
from builder.ingredients import compiled_folder, recipe_expectations, record_of
from builder.locks import requirements_lock
from builder.model.build import Build
from builder.model.expectations import Expectations
from builder.model.units import UnitRecord
from builder.model.wheel_name import split_label
from builder.plan import Known
from builder.repair.repair import repair, repair_tools
from builder.settings import WHEEL_TESTS, ModelT
from builder.targets import GENERIC, Target, Targets
from builder.toolbox.toolbox import Toolbox
from builder.whole import create_once, sha256_of, write_text

CROSS = CrossDriver()
DRIVERS: Mapping[str, Driver] = {
    **dict.fromkeys(("meson-python", "setuptools", "scikit-build-core", "maturin", "setuptools-rust"), CROSS),
    "bazel": BazelDriver(),
    "cibuildwheel": ContainerDriver(),
}


@dataclass(frozen=True, kw_only=True)
class AuditedWheel:
    """A repaired wheel and its audit, before the run under emulation."""

    build: Build
    path: Path
    audit: AuditReport


@dataclass(frozen=True, kw_only=True)
class TestedWheel:
    """A repaired wheel with all that was found out about it. One that does not run is not benched."""

    build: Build
    path: Path
    sha256: str
    audit: AuditReport
    verify: VerifyReport
    bench: BenchVerdict | None

    @property
    def faults(self) -> tuple[str, ...]:
        """Why it must not be published; empty if it may."""
        audit = [f"audit, {v.check}: {v.detail}" for v in self.audit.verdicts if v.outcome == "fail"]
        run = [f"emulation, {c.name}: {c.detail}" for c in self.verify.checks if c.outcome == "fail"]
        slower = [f"bench, {fault}" for fault in self.bench.faults] if self.bench else []
        return (*audit, *run, *slower)


class Workshop:
    """Runs the stages of builds; their outputs are in the state folder."""

    def __init__(self, toolbox: Toolbox, targets: Targets) -> None:
        self.toolbox = toolbox
        self.targets = targets
        self._out = toolbox.home / "out"

    def compiled_folder(self, build: Build) -> Path:
        return compiled_folder(self.toolbox.home, build.compile_digest)

    def wheel_folder(self, build: Build) -> Path:
        return self._out / "wheels" / build.wheel_digest

    def work_folder(self, build: Build) -> Path:
        return self.toolbox.home / "work" / build.compile_digest[:16]

    def known(self, builds: Iterable[Build], published: Iterable[str] = ()) -> Known:
        """The outputs that exist for these builds, and the inputs of the last compile of each."""
        builds = tuple(builds)
        return Known(
            compiled=frozenset(b.compile_digest for b in builds if self._is_compiled(b)),
            built=frozenset(
                b.wheel_digest for b in builds if self.wheel_folder(b).is_dir() and self._is_compiled(b)
            ),
            published=frozenset(published),
            last_inputs={b.id: inputs for b in builds if (inputs := self._last_inputs(b)) is not None},
        )

    def _last_inputs(self, build: Build) -> dict[str, Any] | None:
        path = self._out / "latest" / f"{build.id}.json"
        if not path.is_file():
            return None
        inputs: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return inputs

    def _is_compiled(self, build: Build) -> bool:
        """Whether the raw wheel exists with the record of its units, which early versions did not keep."""
        return read_record(self.compiled_folder(build)) is not None

    def compile(self, build: Build, progress: Progress) -> Path:
        """The raw wheel of a build, compiled unless it exists.

        Raises:
            SourceError, ToolboxError, CompileError: the stage of that name failed.
        """
        final = self.compiled_folder(build)
        work = self.work_folder(build)
        if not self._is_compiled(build):
            raw = DRIVERS[build.recipe.build.frontend].compile(build, self.toolbox, work, progress)

            def keep(folder: Path) -> None:
                folder.mkdir()
                shutil.copyfile(raw, folder / raw.name)
                shutil.copyfile(work / "build.log", folder / "build.log")
                keep_cost(work, folder)
                write_record(folder, build_record(build, self.toolbox, work))
                (folder / "inputs.json").write_text(_json(build.compile_inputs), encoding="utf-8")

            shutil.rmtree(final, ignore_errors=True)
            create_once(final, keep, durable=True)
        delete_commands(work)
        for bulk in ("src", "build"):
            shutil.rmtree(work / bulk, ignore_errors=True)
        write_text(self._out / "latest" / f"{build.id}.json", _json(build.compile_inputs))
        [wheel] = final.glob("*.whl")
        return wheel

    def cost(self, build: Build) -> Cost | None:
        """The cost of compiling a build, if it is known."""
        return read_cost(self.compiled_folder(build))

    def dropped(self, build: Build) -> tuple[str, ...]:
        """Search folders of this machine that the package asked for, and that its compiler did not get."""
        record = read_record(self.compiled_folder(build))
        return record.dropped if record else ()

    def repair(self, build: Build, raw: Path, progress: Progress) -> Path:
        """The repaired wheel of a build, made unless it exists.

        Raises:
            RepairError: the raw wheel cannot be repaired.
        """
        final = self.wheel_folder(build)
        if not final.is_dir():
            progress("repair", 0, 0)
            return repair(build, raw, self.toolbox, self.work_folder(build), final)
        [wheel] = final.glob("*.whl")
        return wheel

    def audit(self, build: Build, wheel: Path, progress: Progress) -> AuditReport:
        """The audit of a wheel; kept until the audit, the recipe's expectations or the wheel change.

        Raises:
            AuditError: the wheel cannot be read.
        """
        label = split_label(wheel.name)[1]
        target = least(label, self.targets[GENERIC]) if label else self.targets[build.target]
        expectations = recipe_expectations(build.recipe, build.target, self.toolbox.toolchains)
        record = record_of(wheel, self.toolbox.home)
        key = {
            "audit": AUDIT_VERSION,
            "target": target.model_dump(mode="json", exclude={"emulator", "server", "core"}),
            "expectations": expectations.model_dump(mode="json"),
            "record": digest(record.model_dump(mode="json", exclude={"dropped"})) if record else None,
            "llvm": self.toolbox.pins.digest("llvm"),
            "auditwheel": repair_tools()["auditwheel"],
            "dispatch": rules_digest(),
        }
        kept = self._check_file(wheel, "audit", key)
        if (report := _read(AuditReport, kept)) is None:
            progress("audit", 0, 0)
            job = partial(
                _audit, wheel.absolute(), self.targets, target, expectations, record, self.toolbox.llvm_mc()
            )
            report = call_in_child(job, report=self.toolbox.report, failure=AuditError)
            _keep(kept, report)
        return report

    def verify(self, build: Build, wheel: Path, progress: Progress) -> VerifyReport:
        """The run of a wheel under emulation; kept until the tests, the emulator or the wheel change.

        A wheel of the stable ABI runs on each Python for which it is tested.
        """
        path = self._installable(wheel)
        report, *others = [
            self._verify_on(python, build, path, progress) for python in (build.python, *build.tested)
        ]
        checks = [
            check.model_copy(update={"name": f"{check.name}, {python}"})
            for python, other in zip(build.tested, others, strict=True)
            for check in other.checks
        ]
        passed = report.passed and all(other.passed for other in others)
        return report.model_copy(
            update={"filename": wheel.name, "checks": (*report.checks, *checks), "passed": passed}
        )

    def _verify_on(self, python: str, build: Build, wheel: Path, progress: Progress) -> VerifyReport:
        settings = build.recipe.verify
        tests_script = script(settings.script)
        target = self.targets[build.target]
        model = stand_in(target)
        lesser = lesser_stand_in(target, self.targets)
        tests = requirements_lock(build.recipe.name, "tests", python)
        key = {
            "verify": VERIFY_VERSION,
            **({"own": own} if (own := own_cpu(target, self.targets)) else {}),
            "models": [
                [one.cpu, root_key(self.toolbox, one.server)]
                for one in (model, *([lesser[1]] if lesser else []))
            ],
            "requirements": sha256_of(tests) if build.recipe.test_requires else None,
            "settings": settings.model_dump(mode="json"),
            "script": {
                path.name: sha256_of(path)
                for path in (
                    *sorted(tests_script.parent.glob(f"{tests_script.stem}.*")),
                    WHEEL_TESTS / "kit.py",
                )
            },
            "parts": [self.toolbox.pins.digest(part) for part in ("qemu", "pip", f"userland-{python}")],
        }
        kept = self._check_file(wheel, "emulation", key)
        if (report := _read(VerifyReport, kept)) is None:
            report = verify(
                wheel,
                recipe=build.recipe,
                version=build.version,
                python=python,
                target=target,
                targets=self.targets,
                toolbox=self.toolbox,
                progress=lambda what: progress(what, 0, 0),
            )
            _keep(kept, report)
        return report

    def bench(
        self, build: Build, wheel: Path, progress: Progress, previous: Path | None = None
    ) -> BenchVerdict:
        """The wheel held against those that people have. Counts are kept, so that a second call is quick.

        Raises:
            ToolboxError: an index does not answer, or a file does not match its hash.
            VerifyError: a wheel cannot be installed, or the emulator cannot be started.
        """
        progress("bench", 0, 0)
        machine = CountingMachine(self.toolbox, self.targets[build.target], build.python)

        def report(step: str) -> None:
            progress(f"bench, {step}", 0, 0)

        return bench_wheel(self._installable(wheel), build, machine, self.toolbox.home, previous, report)

    def _check_file(self, wheel: Path, kind: str, key: Mapping[str, Any]) -> Path:
        return self._out / "checks" / f"{sha256_of(wheel)[:24]}-{kind}-{digest(key)[:12]}.json"

    def held(self, build: Build, sha256: str) -> Path | None:
        """The wheel of a build, if it exists and has this sha256."""
        here = sorted(self.wheel_folder(build).glob("*.whl"))
        return here[0] if here and sha256_of(here[0]) == sha256 else None

    def build(self, build: Build, progress: Progress) -> AuditedWheel:
        """Make and audit the wheel of a build. Threads may call this for different builds at the same time."""
        with self.alone(build):
            path = self.repair(build, self.compile(build, progress), progress)
            return AuditedWheel(build=build, path=path, audit=self.audit(build, path, progress))

    @contextmanager
    def alone(self, build: Build) -> Iterator[Path]:
        """Hold the work folder of a build, which several builds with the same compile digest share."""
        work = self.work_folder(build)
        work.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{work}.lock"):
            yield work

    def component(self, build: Build, name: str, progress: Progress) -> tuple[Path, tuple[Check, ...]]:
        """Build a component of a build and run it under emulation; returns its folder and the checks.

        Raises:
            ConfigError: the recipe has no such component.
            SourceError, ToolboxError, CompileError, VerifyError: the stage of that name failed.
        """
        with self.alone(build) as work:
            folder = CROSS.component(build, name, self.toolbox, work, progress)
            progress("running under emulation", 0, 0)
            checks = verify_component(
                folder,
                build.recipe.components[name].script,
                python=build.python,
                target=self.targets[build.target],
                toolbox=self.toolbox,
                limit_minutes=build.recipe.verify.timeout_minutes,
            )
        progress(FINISHED, 0, 0)
        return folder, checks

    def _installable(self, wheel: Path) -> Path:
        """The wheel under a name that pip can parse: a variant's without its label (:pep:`825`)."""
        plain, label = split_label(wheel.name)
        if not label:
            return wheel
        link = self.toolbox.home / "tmp" / sha256_of(wheel)[:24] / plain
        return create_once(link, lambda path: shutil.copyfile(wheel, path))

    def prove(self, built: AuditedWheel, progress: Progress, previous: Path | None = None) -> TestedWheel:
        """Run and bench an audited wheel under emulation. Another thread may build meanwhile.

        ``previous`` is the wheel that was published last for the same project, target and Python.
        """
        run = self.verify(built.build, built.path, progress)
        sound = run.passed and built.audit.passed
        bench = self.bench(built.build, built.path, progress, previous) if sound else None
        progress(FINISHED, 0, 0)
        return TestedWheel(
            build=built.build,
            path=built.path,
            sha256=built.audit.sha256,
            audit=built.audit,
            verify=run,
            bench=bench,
        )


def _audit(
    wheel: Path,
    targets: Targets,
    target: Target,
    expectations: Expectations,
    record: UnitRecord | None,
    llvm_mc: Path,
    report: Report,  # noqa: ARG001 - an audit reports no progress
) -> AuditReport:
    return audit_wheel(
        wheel, targets=targets, target=target, expectations=expectations, record=record, llvm_mc=llvm_mc
    )


def _read(model: type[ModelT], path: Path) -> ModelT | None:
    return model.model_validate_json(path.read_text(encoding="utf-8")) if path.is_file() else None


def _keep(path: Path, report: AuditReport | VerifyReport) -> None:
    """Keep a report that passed. A failure may be the machine's, so that the next run tries again."""
    if report.passed:
        write_text(path, _json(report.model_dump(mode="json")))


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, sort_keys=True) + "\n"
