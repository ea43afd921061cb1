"""Checks that every compile unit of a wheel was optimised.

Two things are read. The record of the compile (:mod:`builder.compile.units`) has the name, the level and NDEBUG
of every unit, but is only on the machine that compiled the wheel. The section ``.GCC.command.line`` of each file
has the levels without names, and equal command lines once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from builder.audit.archive import is_graft
from builder.audit.elf import Elf
from builder.audit.flags import units
from builder.audit.verdicts import Verdict, counted, failed, not_applicable, passed
from builder.model.expectations import UnoptimizedUnit
from builder.model.units import Unit, UnitRecord, is_optimised, level_of

CHECK = "optimisation"
_SHOWN = 10
_KEPT = 200


def check_optimisation(
    elves: Iterable[Elf], record: UnitRecord | None, allowed: Sequence[UnoptimizedUnit], *, own: bool
) -> Verdict:
    """Check that no unit was compiled without ``-O`` or with ``-O0``, except those that the recipe names.

    Units without ``-DNDEBUG`` are reported and do not fail: a package may keep its assertions on purpose, and they
    cost what they test. A unit without optimisation is slow everywhere, and nobody ships one on purpose.

    Args:
        elves: the ELF files of the wheel. Grafted libraries are ignored, since their sections may be of others.
        record: the units of the wheel's compile, with those of the libraries that its recipe builds; ``None`` if
            it is not on this machine.
        allowed: the recipe's exceptions.
        own: whether the wheel has a passport; the check does not apply to others.
    """
    lines = [(one.member, line) for one in elves if not is_graft(one.member) for line in units(one)]
    levels = Counter(level_of(line.split()) for _, line in lines)
    if not own:
        found = f"; recorded are {_spelled(levels)}" if lines else ""
        return not_applicable(CHECK, f"the wheel has no passport{found}", levels=_named(levels))
    plain = [f"{member}: {line}" for member, line in lines if not is_optimised(level_of(line.split()))]
    if record is None or (record.gaps and not record.units):
        return _by_sections(lines, levels, plain)
    return _by_record(record, allowed, lines, plain)


def _by_sections(lines: Sequence[object], levels: Counter[str], plain: list[str]) -> Verdict:
    data = {"read": "sections", "levels": _named(levels)}
    if plain:
        detail = f"{counted(len(plain), 'command line')} without optimisation{_listed(plain)}"
        return failed(CHECK, detail, **data, unoptimised=plain[:_KEPT])
    if not lines:
        return not_applicable(CHECK, "no unit is recorded", **data)
    return passed(
        CHECK,
        f"{counted(len(lines), 'command line')} in the files: {_spelled(levels)}; names and NDEBUG are unknown, "
        "since no record of the compile is here",
        **data,
    )


def _by_record(
    record: UnitRecord, allowed: Sequence[UnoptimizedUnit], lines: Sequence[object], plain: list[str]
) -> Verdict:
    levels = Counter(unit.level for unit in record.units)
    unoptimised = [unit for unit in record.units if not unit.optimised]
    asserting = _names(unit for unit in record.units if not unit.ndebug)
    reasons: Counter[str] = Counter()
    refused: list[Unit] = []
    for unit in unoptimised:
        if why := next((rule.why for rule in allowed if rule.covers(unit.unit)), None):
            reasons[why] += 1
        else:
            refused.append(unit)
    idle = [rule.unit for rule in allowed if not any(rule.covers(unit.unit) for unit in unoptimised)]
    data = {
        "read": "record",
        "units": len(record.units),
        "levels": _named(levels),
        "allowed": dict(reasons.most_common()),
        "without_ndebug": asserting[:_KEPT],
        "gaps": record.gaps,
    }
    aside = "".join(
        f"; {counted(count, 'unit')} without optimisation set aside: {why}"
        for why, count in reasons.most_common()
    )
    aside += f"; {record.gaps}: other units are known by the files alone" if record.gaps else ""
    aside += "".join(f"; no unit without optimisation matches '{glob}'" for glob in idle)
    if refused:
        faults = [f"{unit.unit}: {unit.level or 'no -O'}" for unit in refused]
        summary = f"{len(refused):,} of {counted(len(record.units), 'unit')} compiled without optimisation"
        return failed(CHECK, f"{summary}{aside}{_listed(faults)}", **data, unoptimised=faults[:_KEPT])
    if plain and not unoptimised:
        summary = f"{counted(len(plain), 'command line')} without optimisation that the record does not have"
        return failed(CHECK, f"{summary}{_listed(plain)}", **data, unoptimised=plain[:_KEPT])
    if not record.units:
        if lines:
            return failed(CHECK, "the record of the compile has no unit, but the files have", **data)
        return not_applicable(CHECK, f"no unit is recorded{aside}", **data)
    ndebug = "NDEBUG in all" if not asserting else f"without NDEBUG {len(asserting):,}{_listed(asserting)}"
    return passed(CHECK, f"{counted(len(record.units), 'unit')}: {_spelled(levels)}{aside}; {ndebug}", **data)


def _names(found: Iterable[Unit]) -> list[str]:
    return list(dict.fromkeys(unit.unit for unit in found))


def _named(levels: Counter[str]) -> dict[str, int]:
    return {level or "none": count for level, count in levels.most_common()}


def _spelled(levels: Counter[str]) -> str:
    return ", ".join(f"{count:,} {level or 'without -O'}" for level, count in levels.most_common())


def _listed(faults: Sequence[str]) -> str:
    more = f"\nand {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
    return "".join(f"\n{fault}" for fault in faults[:_SHOWN]) + more
