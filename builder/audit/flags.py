"""Reads the machine flags that each compile unit of a wheel was compiled with.

GCC (``-frecord-gcc-switches``), clang (``-frecord-command-line``) and our compiler wrappers record the command
line of each compile unit in the section ``.GCC.command.line``, as strings that end with a zero byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from builder.audit import elf
from builder.audit.archive import is_graft, open_wheel
from builder.audit.elf import Elf
from builder.audit.verdicts import Verdict, counted, failed, not_applicable, passed
from builder.errors import AuditError

_MACHINE_FLAGS = ("-mcpu=", "-march=", "-mtune=")
_SHOWN = 3


def units(one: Elf) -> tuple[str, ...]:
    """Return the command lines of a file's compile units.

    GCC before 11 records each switch as a separate string, and the linker merges equal strings. Such a section has
    the switches of all units, and counts as one unit.
    """
    lines = one.command_lines
    if lines and all(" " not in line for line in lines):
        return (" ".join(lines),)
    return lines


def machine_flags(command_lines: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct ``-mcpu``, ``-march`` and ``-mtune`` flags of the command lines, sorted."""
    return tuple(
        sorted({flag for line in command_lines for flag in line.split() if flag.startswith(_MACHINE_FLAGS)})
    )


def observed_flags(path: Path) -> tuple[str, ...]:
    """Return the distinct machine flags of the wheel at ``path``, for its passport. Grafted libraries are ignored.

    Raises:
        AuditError: the wheel or one of its binaries cannot be read.
    """
    lines: list[str] = []
    for name, data in open_wheel(path).binaries():
        if not is_graft(name):
            try:
                lines += units(elf.read(name, data))
            except elf.MalformedElfError as error:
                raise AuditError(f"{path.name}: {error}") from error
    return machine_flags(lines)


def check_flags(
    elves: Iterable[Elf],
    expected: tuple[str, ...] | None,
    observed: tuple[str, ...] | None,
    baseline: tuple[str, ...] | None = None,
) -> Verdict:
    """Check that every compile unit has the expected machine flags and no others.

    Every loadable file must have recorded command lines. Grafted libraries are ignored, since others compiled them.

    Args:
        elves: the ELF files of the wheel.
        expected: the flags of the recipe or the passport; ``None`` if they are unknown. A flag with an extension
            suffix (``-mcpu=neoverse-v1+nosve``) counts as the same flag.
        observed: the flags that the passport lists as observed; ``None`` without such a list.
        baseline: flags that some units, but not all, may have instead.
    """
    check = "flags"
    own = [one for one in elves if not is_graft(one.member)]
    recorded = {one.member: units(one) for one in own}
    lines = [line for each in recorded.values() for line in each]
    found = machine_flags(lines)
    data = {"units": len(lines), "flags": list(found)}
    if expected is None:
        summary = (
            f"{len(lines):,} recorded units used {' '.join(found) or 'no machine flag'}"
            if lines
            else "none recorded"
        )
        return not_applicable(check, f"no flags are expected; {summary}", **data)
    silent = [one.member for one in own if one.is_loadable and not recorded[one.member]]
    faults = [f"{member}: no record of its compiler's command line" for member in silent]
    for member, each in recorded.items():
        faults += [
            f"{member}: {fault} in: {line}"
            for line in each
            if (fault := _fault(line, expected)) and (baseline is None or _fault(line, baseline))
        ]
    if observed is not None and observed != found:
        faults.append(
            f"the passport has {' '.join(observed) or 'none'}, the files have {' '.join(found) or 'none'}"
        )
    if faults:
        shown = "".join(f"\n{fault}" for fault in faults[:_SHOWN])
        more = f"\nand {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
        return failed(
            check, f"{' '.join(expected)} did not reach every unit{shown}{more}", **data, faults=faults[:50]
        )
    tuned = [line for line in lines if not _fault(line, expected)]
    if not tuned:
        return failed(check, f"no unit was compiled with {' '.join(expected)}", **data)
    return passed(
        check, f"{' '.join(found)} in {counted(len(lines), 'unit')} of {counted(len(own), 'file')}", **data
    )


def _fault(line: str, expected: tuple[str, ...]) -> str | None:
    """Return the fault of one command line, or ``None``."""
    used = machine_flags([line])
    allowed = {flag for flag in used if any(flag == want or flag.startswith(f"{want}+") for want in expected)}
    missing = [
        want for want in expected if not any(flag == want or flag.startswith(f"{want}+") for flag in allowed)
    ]
    if missing:
        return f"{' '.join(missing)} is missing"
    strange = sorted(set(used) - allowed)
    return f"{' '.join(strange)} is not expected" if strange else None
