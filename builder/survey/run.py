"""Fetches the wheels of a survey from the index that pip uses, and audits each once.

What was found out is kept by the wheel's sha256, the audit's version and its rules, so that a survey that was
stopped goes on where it was, and one of next week audits only what is new.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from packaging.tags import Tag
from packaging.utils import parse_wheel_filename

from builder.audit import AUDIT_VERSION, AuditReport, audit_wheel
from builder.bench.install import choose, newest
from builder.child import Report, call_in_child
from builder.emulation import trial
from builder.errors import ArmwheelsError, AuditError, ConfigError
from builder.model.base import Config, Frozen
from builder.model.expectations import Expectations
from builder.model.pythons import installable_tags
from builder.settings import configs_dir, load_toml
from builder.survey.model import Answer, Entry, Result, result_of
from builder.targets import Target, Targets
from builder.toolbox.fetch import fetch_pypi, list_pypi
from builder.toolbox.toolbox import Toolbox
from builder.whole import write_text

_NEWEST_GLIBC = 40
Say = Callable[[str], None]


class SurveyFile(Config):
    """``configs/survey.toml``: the projects that a survey looks at without another ranking."""

    projects: tuple[str, ...]


class _Kept(Frozen):
    """What was found out of one wheel, of ``size`` bytes."""

    size: int
    results: tuple[Result, ...] = ()

    def has(self, target: str) -> bool:
        return any(one.target == target for one in self.results)

    def of(self, target: str) -> Result:
        return next(one for one in self.results if one.target == target)


def ranked_projects(ranking: Path | None = None) -> tuple[str, ...]:
    """Return the names of projects in order: those of ``configs/survey.toml``, or of a file.

    The file is JSON in the form of "Top PyPI Packages" (``{"rows": [{"project": NAME}]}``), or has one name a line.

    Raises:
        ConfigError: the file has neither form.
    """
    if ranking is None:
        return load_toml(SurveyFile, configs_dir() / "survey.toml").projects
    text = ranking.read_text(encoding="utf-8")
    if not text.lstrip().startswith(("{", "[")):
        return tuple(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))
    try:
        return tuple(str(row["project"]) for row in json.loads(text)["rows"])
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigError(f'{ranking}: not a ranking; wanted is {{"rows": [{{"project": NAME}}]}}') from error


class Surveyor:
    """Looks at one project after another.

    Args:
        python: the tag of the CPython whose wheels are taken.
        run: whether imports under emulation are tried too.
        keep: whether downloaded wheels are kept.
    """

    def __init__(
        self, toolbox: Toolbox, targets: Targets, python: str, *, run: bool = False, keep: bool = False
    ) -> None:
        self._toolbox = toolbox
        self._targets = targets
        self._python = python
        self._run = run
        self._keep = keep
        self._rules = hashlib.sha256((configs_dir() / "dispatch.toml").read_bytes()).hexdigest()[:8]
        platforms = [f"manylinux_2_{minor}_aarch64" for minor in range(_NEWEST_GLIBC, 16, -1)]
        self._tags: list[Tag] = installable_tags(python, [*platforms, "manylinux2014_aarch64"])

    def look_at(self, project: str, targets: Sequence[str], say: Say) -> Entry:
        """Return what is known of the newest wheel of a project; audit what is not known yet.

        A project without such a wheel, and one whose wheel cannot be fetched or read, gets a note.
        """
        try:
            listed = [one for one in list_pypi(project) if not one.yanked]
            version = newest(listed, self._tags)
            chosen = choose(listed, version, self._tags) if version else None
            if version is None or chosen is None:
                return Entry(project=project, note=f"no wheel for {self._python} on 64-bit Arm")
            if all(tag.platform == "any" for tag in parse_wheel_filename(chosen.filename)[3]):
                return Entry(
                    project=project, version=version, filename=chosen.filename, note="no compiled code"
                )
            kept = self._kept(chosen.sha256) or _Kept(size=0)
            missing = [self._targets[name] for name in targets if not kept.has(name)]
            if missing:
                say(f"{chosen.filename}: download")
                wheel = self._toolbox.home / "downloads" / chosen.sha256 / chosen.filename
                wheel.parent.mkdir(parents=True, exist_ok=True)
                fetch_pypi(project, chosen.filename, chosen.sha256, wheel)
                kept = self._look(wheel, chosen.sha256, missing, say)
                if not self._keep:
                    shutil.rmtree(wheel.parent, ignore_errors=True)
        except ArmwheelsError as error:
            return Entry(project=project, note=f"cannot say: {error}")
        return Entry(
            project=project,
            version=version,
            filename=chosen.filename,
            sha256=chosen.sha256,
            size=kept.size,
            results=tuple(kept.of(name) for name in targets),
        )

    def _look(self, wheel: Path, sha256: str, targets: Sequence[Target], say: Say) -> _Kept:
        """Audit for each target in turn, and keep each result.

        A CPU that runs all that a lesser one runs needs no audit where every instruction exists on the lesser one.
        """
        kept = self._kept(sha256) or _Kept(size=wheel.stat().st_size)
        for target in targets:
            plain = [self._targets[one.target] for one in kept.results if one.answer is Answer.RUNS]
            lesser = next((one for one in plain if one <= target), None)
            if lesser is not None and not self._run:
                result = kept.of(lesser.name).model_copy(update={"target": target.name})
            else:
                say(f"{wheel.name}: audit for {target}")
                result = self._audited(wheel, target)
            kept = kept.model_copy(update={"results": (*kept.results, result)})
            write_text(self._file(sha256), kept.model_dump_json(indent=1) + "\n")
        return kept

    def _audited(self, wheel: Path, target: Target) -> Result:
        job = partial(_audit, wheel, self._targets, target, self._toolbox.llvm_mc())
        report = call_in_child(job, report=self._toolbox.report, failure=AuditError)
        if self._run:
            report = trial.decided(report, wheel, target=target, toolbox=self._toolbox)
        return result_of(report)

    def _kept(self, sha256: str) -> _Kept | None:
        file = self._file(sha256)
        return _Kept.model_validate_json(file.read_text(encoding="utf-8")) if file.is_file() else None

    def _file(self, sha256: str) -> Path:
        kind = "run" if self._run else "audit"
        return self._toolbox.home / "survey" / f"{sha256}-{kind}-{AUDIT_VERSION}-{self._rules}.json"


def _audit(
    wheel: Path,
    targets: Targets,
    target: Target,
    llvm_mc: Path,
    report: Report,  # noqa: ARG001 - an audit reports no progress
) -> AuditReport:
    return audit_wheel(wheel, targets=targets, target=target, expectations=Expectations(), llvm_mc=llvm_mc)
