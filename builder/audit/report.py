"""Audits one wheel with all checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from builder.audit import elf
from builder.audit.archive import WheelFile, open_wheel
from builder.audit.checks import check_alignment, check_loading, check_machine, check_rpath, check_size
from builder.audit.decode import Decoder, LlvmMc
from builder.audit.elf import Elf, MalformedElfError
from builder.audit.flags import check_flags
from builder.audit.instructions import check_tuned, survey
from builder.audit.libraries import known_libraries
from builder.audit.optimisation import check_optimisation
from builder.audit.page_size import check_page_size
from builder.audit.places import check_instructions, places
from builder.audit.platform import check_platform, check_tag
from builder.audit.provenance import check_licences, check_passport
from builder.audit.record import check_record
from builder.audit.variant import least
from builder.audit.verdicts import AuditReport, Verdict, failed, not_applicable
from builder.errors import AuditError, ConfigError
from builder.model.expectations import Expectations
from builder.model.units import UnitRecord
from builder.settings import configs_dir
from builder.targets import GENERIC, Target, Targets


def audit_wheel(
    path: Path,
    *,
    targets: Targets,
    target: Target | None = None,
    expectations: Expectations | None = None,
    record: UnitRecord | None = None,
    llvm_mc: Path,
) -> AuditReport:
    """Audit the wheel at ``path``, without changing it.

    The default of ``target`` is the passport's target, or ``generic`` without a passport. The default for a wheel
    variant is the least CPU on which an installer takes it. ``record`` has the
    compile units of the wheel, if it was compiled on this machine. ``llvm_mc`` is the path of llvm-mc, version 19
    or later.

    Raises:
        AuditError: the wheel cannot be read, or llvm-mc does not run.
        ConfigError: the passport's schema or ``dispatch.toml`` is missing, or has a fault.
    """
    wheel = open_wheel(path)
    if target is not None:
        chosen = target
    elif wheel.label:
        chosen = least(wheel.label, targets[GENERIC])
    else:
        chosen = targets[passport_target(wheel) or GENERIC]
    return judge(wheel, chosen, expectations or Expectations(), LlvmMc(llvm_mc), record)


def passport_target(wheel: WheelFile) -> str | None:
    """Return the target in the wheel's passport; ``None`` without a passport.

    Raises:
        AuditError: the passport cannot be read, or has no target.
    """
    if wheel.passport is None:
        return None
    name = wheel.passport.get("target")
    if not isinstance(name, str):
        raise AuditError(f"{wheel.path.name}: its passport has no target; give one with --target")
    return name


def judge(
    wheel: WheelFile,
    target: Target,
    expectations: Expectations,
    decoder: Decoder,
    record: UnitRecord | None = None,
) -> AuditReport:
    """Run all checks on an opened wheel.

    Raises:
        AuditError: a member cannot be read, or the decoder does not run.
        ConfigError: the passport's schema or ``dispatch.toml`` is missing, or has a fault.
    """
    elves: list[Elf] = []
    malformed: dict[str, str] = {}
    for member, data in wheel.binaries():
        try:
            elves.append(elf.read(member, data))
        except MalformedElfError as error:
            malformed[member] = str(error)
    arm = [one for one in elves if one.is_aarch64]
    passport = wheel.passport or {}
    verdicts = (
        check_record(wheel),
        check_machine(wheel, elves, malformed),
        check_tag(wheel, arm),
        *check_platform(wheel, arm, expectations.supplied),
        *_code_verdicts(arm, target, expectations, decoder, strict=wheel.passport is not None),
        check_flags(
            arm,
            _promised_flags(expectations, passport),
            _observed_flags(passport),
            expectations.baseline_flags,
        ),
        check_optimisation(arm, record, expectations.unoptimized, own=wheel.passport is not None),
        check_alignment(arm),
        check_page_size(arm),
        check_loading(arm),
        check_rpath(arm),
        check_licences(wheel),
        check_size(wheel, arm, expectations.max_size_bytes),
        check_passport(wheel, target, _passport_schema()),
    )
    return AuditReport(
        filename=wheel.path.name,
        sha256=wheel.sha256,
        size=wheel.size,
        target=target.name,
        passed=all(verdict.outcome != "fail" for verdict in verdicts),
        verdicts=verdicts,
    )


def _code_verdicts(
    arm: list[Elf], target: Target, expectations: Expectations, decoder: Decoder, *, strict: bool
) -> tuple[Verdict, Verdict]:
    if not arm:
        none = not_applicable("instructions", "no Arm code")
        if expectations.promises:
            return none, failed(
                "tuned-code", f"{', '.join(expectations.promises)} promised, but there is no Arm code"
            )
        return none, not_applicable("tuned-code", "no Arm code")
    try:
        found = survey(arm, target, expectations.allow, decoder, known_libraries())
        every = places(found, arm)
    except MalformedElfError as error:
        return failed("instructions", str(error)), failed("tuned-code", str(error))
    return check_instructions(found, every, target, strict=strict), check_tuned(found, expectations.promises)


def _promised_flags(expectations: Expectations, passport: dict[str, Any]) -> tuple[str, ...] | None:
    if expectations.flags is not None:
        return expectations.flags
    flags = passport.get("flags")
    return tuple(map(str, flags)) if isinstance(flags, list) else None


def _observed_flags(passport: dict[str, Any]) -> tuple[str, ...] | None:
    flags = passport.get("flags_observed")
    return tuple(map(str, flags)) if isinstance(flags, list) else None


def _passport_schema() -> dict[str, Any]:
    path = configs_dir() / "passport.schema.json"
    try:
        schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: the passport's schema cannot be read: {error}") from error
    return schema
