"""The system instructions of A64 that a program can execute (EL0), and the extension that each needs.

LLVM decodes a system register, a field of the processor state and an operation on caches by number for every CPU.
A CPU without the extension traps on them. So the audit judges this part of the encoding space by this table.

Encodings are those of the Arm Architecture Reference Manual for A-profile (DDI 0487), section C4.1.66, "Branches,
Exception generating and System instructions", and chapters C5 and D24. Features have Linux's names
(Documentation/arch/arm64/elf_hwcaps); :data:`ANY` stands for Armv8.0-A.
"""

from __future__ import annotations

from typing import NamedTuple

ANY = ""
"""The feature of instructions that every CPU has."""
EL1 = "el1"
"""Registers and operations of the operating system. They trap in a program on every CPU."""
IMPLEMENTATION = "impdef"
"""Registers and operations that the architecture leaves to the maker of the CPU; Linux traps them."""
UNALLOCATED = "unallocated"
"""Encodings of this part of the space that no row names."""

SYSTEM_MASK, SYSTEM_VALUE = 0xFFC00000, 0xD5000000
"""All instructions of this part: ``word & SYSTEM_MASK == SYSTEM_VALUE``."""

_OP0, _OP1, _CRN, _CRM, _OP2, _RT = 0x180000, 0x70000, 0xF000, 0xF00, 0xE0, 0x1F
_READ = 0x200000


class SystemRow(NamedTuple):
    """Instructions with ``word & mask == value`` need ``feature``; ``name`` is the extension that reports name."""

    name: str
    mask: int
    value: int
    feature: str


def _number(op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    return SYSTEM_VALUE | op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5


def _register(feature: str, op1: int, crn: int, crm: int, op2: int) -> SystemRow:
    """MRS and MSR of one register of op0 3."""
    mask = SYSTEM_MASK | _OP0 | _OP1 | _CRN | _CRM | _OP2
    return SystemRow(feature, mask, _number(3, op1, crn, crm, op2), feature)


def _registers(feature: str, crn: int, crm: int, *, op0: int = 3) -> SystemRow:
    """MRS and MSR of all registers with op1 3 of one CRm."""
    mask = SYSTEM_MASK | _OP0 | _OP1 | _CRN | _CRM
    return SystemRow(feature, mask, _number(op0, 3, crn, crm, 0), feature)


def _state(feature: str, op1: int, op2: int) -> SystemRow:
    """MSR (immediate) of one field of the processor state: Rt is 31, and CRm the immediate."""
    mask = SYSTEM_MASK | _READ | _OP0 | _OP1 | _CRN | _OP2 | _RT
    return SystemRow(feature, mask, _number(0, op1, 4, 0, op2) | _RT, feature)


def _operation(feature: str, crm: int, op2: int) -> SystemRow:
    """SYS and SYSL with op1 3 and CRn 7, such as ``dc zva``."""
    mask = SYSTEM_MASK | _OP0 | _OP1 | _CRN | _CRM | _OP2
    return SystemRow(feature, mask, _number(1, 3, 7, crm, op2), feature)


def _exact(feature: str, value: int, mask: int = 0xFFFFFFFF) -> SystemRow:
    return SystemRow(feature, mask, value, feature)


def _part(name: str, op0: int, mask: int = 0, value: int = 0, feature: str | None = None) -> SystemRow:
    """All instructions of one op0 with the given bits."""
    return SystemRow(
        name,
        SYSTEM_MASK | _OP0 | mask,
        SYSTEM_VALUE | op0 << 19 | value,
        name if feature is None else feature,
    )


SYSTEM = (
    # Processor state (C5.2, MSR (immediate) C6.2.228). Rows that come first win.
    _exact("flagm", 0xD500401F, 0xFFFFF0FF),  # cfinv
    _exact("flagm2", 0xD500403F, 0xFFFFF0FF),  # xaflag
    _exact("flagm2", 0xD500405F, 0xFFFFF0FF),  # axflag
    _state("ssbs", 3, 1),
    _state("dit", 3, 2),
    _state("sme", 3, 3),  # smstart and smstop
    _state("mte", 3, 4),  # TCO
    _state(EL1, 3, 6),  # DAIFSet: Linux does not set SCTLR_EL1.UMA
    _state(EL1, 3, 7),  # DAIFClr
    # Waits, transactions, hints and barriers (C6.2).
    _exact("wfxt", 0xD5031000, 0xFFFFFFC0),  # wfet and wfit
    _exact("tme", 0xD5233060, 0xFFFFFFE0),  # tstart
    _exact("tme", 0xD5233160, 0xFFFFFFE0),  # ttest
    _exact("tme", 0xD503307F),  # tcommit
    _exact("sb", 0xD50330FF, 0xFFFFF0FF),
    _exact("xs", 0xD503323F, 0xFFFFF3FF),  # dsb with the qualifier nXS
    _exact(ANY, 0xD503201F, 0xFFFFF01F),  # hints: CPUs that do not know one take it for nop
    _exact(ANY, 0xD503305F, 0xFFFFF0FF),  # clrex
    _exact(ANY, 0xD503309F, 0xFFFFF0FF),  # dsb
    _exact(ANY, 0xD50330BF, 0xFFFFF0FF),  # dmb
    _exact(ANY, 0xD50330DF, 0xFFFFF0FF),  # isb
    _part(EL1, 0, _OP1, 0x00000),  # SPSel, PAN, UAO
    _part(EL1, 0, _OP1, 0x10000),  # ALLINT, PM
    # Operations on caches and predictions, guarded control stacks (C5.3, C5.5).
    *(
        _operation(EL1, 3, op2) for op2 in (4, 5, 6, 7)
    ),  # cfp, dvp, cosp, cpp: Linux does not set SCTLR_EL1.EnRCTX
    _operation(ANY, 4, 1),  # dc zva
    _operation("mte", 4, 3),  # dc gva
    _operation("mte", 4, 4),  # dc gzva
    _operation(ANY, 5, 1),  # ic ivau
    *(_operation("gcs", 7, op2) for op2 in (0, 1, 2, 3)),  # gcspushm, gcspopm, gcsss1, gcsss2
    _operation(ANY, 10, 1),  # dc cvac
    _operation(ANY, 11, 1),  # dc cvau
    _operation("dcpop", 12, 1),  # dc cvap
    _operation("dcpodp", 13, 1),  # dc cvadp
    _operation(ANY, 14, 1),  # dc civac
    *(_operation("mte", crm, op2) for crm in (10, 12, 13, 14) for op2 in (3, 5)),  # dc cgvac and its like
    # Registers (D24.2).
    _register("rng", 3, 2, 4, 0),  # RNDR
    _register("rng", 3, 2, 4, 1),  # RNDRRS
    _register("gcs", 3, 2, 5, 1),  # GCSPR_EL0
    _register(ANY, 3, 0, 0, 1),  # CTR_EL0
    _register(ANY, 3, 0, 0, 7),  # DCZID_EL0
    _register(ANY, 3, 4, 2, 0),  # NZCV
    _register(EL1, 3, 4, 2, 1),  # DAIF
    _register("sme", 3, 4, 2, 2),  # SVCR
    _register("dit", 3, 4, 2, 5),
    _register("ssbs", 3, 4, 2, 6),
    _register("mte", 3, 4, 2, 7),  # TCO
    _register(ANY, 3, 4, 4, 0),  # FPCR
    _register(ANY, 3, 4, 4, 1),  # FPSR
    _register("fpmr", 3, 4, 4, 2),
    _register(EL1, 3, 4, 5, 0),  # DSPSR_EL0 and DLR_EL0 exist in the debug state alone
    _register(EL1, 3, 4, 5, 1),
    _registers(ANY, 9, 12),  # performance monitors, which Linux opens to programs that ask (perf_user_access)
    _registers(ANY, 9, 13),
    _registers(ANY, 9, 14),
    *(_registers(ANY, 14, crm) for crm in range(8, 16)),  # PMEVCNTR<n>_EL0, PMEVTYPER<n>_EL0
    _register("poe", 3, 10, 2, 4),  # POR_EL0
    _register(ANY, 3, 13, 0, 2),  # TPIDR_EL0
    _register(ANY, 3, 13, 0, 3),  # TPIDRRO_EL0
    _register("sme", 3, 13, 0, 5),  # TPIDR2_EL0
    _register(EL1, 3, 13, 0, 7),  # SCXTNUM_EL0: Linux sets SCTLR_EL1.TSCXT
    *(_registers(EL1, 13, crm) for crm in range(2, 16)),  # activity monitors
    _register(ANY, 3, 14, 0, 0),  # CNTFRQ_EL0
    _register(EL1, 3, 14, 0, 1),  # CNTPCT_EL0: Linux opens the virtual counter alone
    _register(ANY, 3, 14, 0, 2),  # CNTVCT_EL0
    _register(EL1, 3, 14, 0, 5),  # CNTPCTSS_EL0
    _register("ecv", 3, 14, 0, 6),  # CNTVCTSS_EL0
    _registers(EL1, 14, 2),  # timers, which Linux keeps to itself
    _registers(EL1, 14, 3),
    # Linux answers reads of identification registers (Documentation/arch/arm64/cpu-feature-registers).
    _part(ANY, 3, _OP1 | _CRN | _READ, _READ),
    # Implementation defined: CRn 11 and 15 (D24.1).
    *(_part(IMPLEMENTATION, op0, _CRN, crn << 12) for op0 in (1, 3) for crn in (11, 15)),
    # All else below op1 3 or above it belongs to a higher exception level; what is left of op1 3 is unallocated.
    *(_part(EL1, op0, _OP1, op1 << 16) for op0 in (1, 3) for op1 in (0, 1, 2, 4, 5, 6, 7)),
    _part(EL1, 2),  # debug and trace
    *(_part(UNALLOCATED, op0) for op0 in (0, 1, 3)),
)
"""The rows in the order in which they are asked. Together they cover the whole part."""
