"""Tries each new version once, and keeps what came of it in a lock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from builder.errors import ArmwheelsError, StoppedError
from builder.model.base import Frozen
from builder.model.matrix import Matrix
from builder.model.recipe import Recipe
from builder.watch.candidate import candidate, move_candidate
from builder.watch.newer import Newer, SourceIndex, Unanswered, find_newer
from builder.whole import write_text


class Tried(Frozen):
    """A build of a candidate; ``detail`` is the reason of a failure."""

    build: str
    passed: bool
    detail: str
    seconds: float


class Finding(Frozen):
    """A new version, and what came of its candidate.

    ``stopped`` is the reason why nothing could be built, ``tried_at`` a moment of RFC 3339.
    """

    newer: Newer
    changes: tuple[str, ...] = ()
    builds: tuple[Tried, ...] = ()
    stopped: str = ""
    tried_at: str = ""

    @property
    def outcome(self) -> Literal["passed", "failed", "not tried"]:
        if not self.tried_at:
            return "not tried"
        good = bool(self.builds) and all(one.passed for one in self.builds) and not self.stopped
        return "passed" if good else "failed"


class Watched(Frozen):
    """All that is newer, and the sources that did not answer."""

    findings: tuple[Finding, ...]
    unanswered: tuple[Unanswered, ...]


Build = Callable[[str, str, str], Iterable[Tried]]
"""Builds the cells of a matrix, a recipe and a version, of the configuration in use."""


def watch(
    recipes: Mapping[str, Recipe],
    matrix_name: str,
    matrix: Matrix,
    home: Path,
    build: Build,
    report: Callable[[str], None],
    *,
    tries: bool = True,
    again: bool = False,
) -> Watched:
    """Look for what is newer than the recipes of a matrix, and build each as a candidate.

    A version that was tried with the same pin for the same matrix is not tried again, unless ``again``. After an
    interruption the next call goes on.

    Raises:
        StoppedError: Ctrl-C.
    """
    lock = home / "watch/lock.json"
    known = _read(lock)
    findings, unanswered = [], []
    sources = SourceIndex(home)
    for name in dict.fromkeys(cells.recipe for cells in matrix.cells):
        report(f"asking where {name} comes from")
        for found in find_newer(recipes[name], sources):
            if isinstance(found, Unanswered):
                unanswered.append(found)
                continue
            key = f"{matrix_name} {name} {found.follow or found.kind}"
            finding = known.get(key)
            if finding is None or finding.newer.pin != found.pin or again:
                finding = Finding(newer=found)
            if tries and not finding.tried_at:
                pythons = {tag for cells in matrix.cells if cells.recipe == name for tag in cells.pythons}
                finding = _try(found, matrix_name, tuple(sorted(pythons)), home, build, report)
                known[key] = finding
                _write(lock, known)
            findings.append(finding)
    return Watched(findings=tuple(findings), unanswered=tuple(unanswered))


def _try(
    newer: Newer,
    matrix: str,
    pythons: tuple[str, ...],
    home: Path,
    build: Build,
    report: Callable[[str], None],
) -> Finding:
    """Build a candidate; what stops it is its result, and no error."""
    changes: tuple[str, ...] = ()
    builds: tuple[Tried, ...] = ()
    stopped = ""
    with candidate(newer, home):
        try:
            changes = move_candidate(newer, pythons, home, report)
            builds = tuple(build(matrix, newer.recipe, newer.follow or newer.new))
        except StoppedError:
            raise
        except ArmwheelsError as error:
            stopped = str(error)
    if not builds and not stopped:
        stopped = f"no cell of the matrix {matrix} builds this version"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Finding(newer=newer, changes=changes, builds=builds, stopped=stopped, tried_at=now)


def markdown(watched: Watched) -> str:
    """What was found, for people. Pure."""
    lines = []
    for one in watched.findings:
        newer = one.newer
        origin = f"follows `{newer.follow}`" if newer.follow else newer.kind
        lines += [
            f"## {newer.recipe} {newer.old} -> {newer.new}: {one.outcome}",
            "",
            f"- {origin}, {newer.pin}",
        ]
        lines += [f"- {newer.old} was yanked"] if newer.yanked else []
        lines += [f"- {change}" for change in one.changes]
        lines += [f"- stopped: {_one_line(one.stopped)}"] if one.stopped else []
        for built in one.builds:
            result = "passed" if built.passed else f"failed: {_one_line(built.detail)}"
            lines.append(f"- {built.build}: {result} ({built.seconds:.0f} s)")
        lines.append("")
    lines += [f"- {one.recipe}: no answer: {_one_line(one.why)}" for one in watched.unanswered]
    return "\n".join(lines).rstrip() or "nothing is newer than the recipes"


def _one_line(text: str) -> str:
    return " / ".join(line.strip() for line in text.splitlines() if line.strip())


def _read(path: Path) -> dict[str, Finding]:
    if not path.is_file():
        return {}
    return {
        key: Finding.model_validate(one) for key, one in json.loads(path.read_text(encoding="utf-8")).items()
    }


def _write(path: Path, findings: Mapping[str, Finding]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {key: one.model_dump(mode="json") for key, one in sorted(findings.items())}
    write_text(path, json.dumps(data, indent=1) + "\n")
