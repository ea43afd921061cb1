"""Finds the instructions of a wheel beyond Armv8.0-A, and checks whether the target has them.

LLVM decodes each distinct word of the executable sections as Armv8.0-A. For the words that it refuses, LLVM tells
whether the target's CPU decodes them, and whether any CPU does. Words that no CPU decodes are data within code.

Two kinds of code may have instructions that the target lacks, since they test the CPU at run time: functions that a
recipe allows by name, and the outline atomics of libgcc and compiler-rt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builder.audit.decode import Decoder, Mask, Words
from builder.audit.elf import NO_SYMBOLS, Code, Elf
from builder.audit.verdicts import Verdict, failed, not_applicable, passed
from builder.model.expectations import AllowedCode
from builder.model.extensions import BLIND, DATA, EXTENSIONS, OTHER, SCALABLE_SPACES, SPACE_MASK, SPACE_SHIFT
from builder.targets import Target

# The test of the outline atomics in lse.S of libgcc and compiler-rt: adrp x16; ldrb w16, [x16, #n]; cbz w16. The
# next instruction runs only on CPUs with LSE.
_GUARD = ((3, 0x9F00001F, 0x90000010), (2, 0xFFC003FF, 0x39400210), (1, 0xFF00001F, 0x34000010))
_OUTLINE_PREFIXES = ("__aarch64_cas", "__aarch64_swp", "__aarch64_ld")
OUTLINE = "outline atomics"
_TOP = 12
_SYMBOL_SHOWN = 60


@dataclass(frozen=True)
class Finding:
    """The instructions of one extension in one function. ``symbol`` is ``None`` if no symbol covers them."""

    member: str
    symbol: str | None
    extension: str
    legal: bool
    rule: str | None
    count: int
    address: int

    @property
    def where(self) -> str:
        """The symbol, or the address if there is none."""
        return self.symbol or f"0x{self.address:x}"


@dataclass(frozen=True)
class Survey:
    """All findings of a wheel, and the numbers of its instructions and data words."""

    instructions: int
    data_words: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Beyond:
    """The words of a member beyond Armv8-A. The arrays have one element per word."""

    member: str
    addresses: NDArray[np.uint64]
    guarded: Mask
    symbols: NDArray[np.intp]
    names: tuple[str, ...]
    units: tuple[str | None, ...]


def survey(elves: Iterable[Elf], target: Target, allow: tuple[AllowedCode, ...], decoder: Decoder) -> Survey:
    """Count the instructions beyond Armv8-A in all ``elves``, by member, function and extension.

    Raises:
        AuditError: the decoder does not run.
        MalformedElfError: a section extends beyond its file.
    """
    codes = [(elf, code) for elf in elves for code in elf.code()]
    words = _distinct(code.words[~code.data] for _, code in codes)
    strange = words[~decoder.decodable(words, "generic") | _is_blind(words)]
    kinds, legal = classify(strange, target, decoder)
    names = sorted(set(kinds))
    numbers = np.array([names.index(kind) for kind in kinds], dtype=np.int64)
    findings: list[Finding] = []
    for elf, code in codes:
        slot, one = _beyond(elf, code, strange)
        findings += _group(one, names, numbers[slot], legal[slot], allow)
    return Survey(
        instructions=sum(len(code.words) for _, code in codes),
        data_words=sum(int(code.data.sum()) for _, code in codes)
        + sum(finding.count for finding in findings if finding.extension == DATA),
        findings=tuple(finding for finding in findings if finding.extension != DATA),
    )


def classify(words: Words, target: Target, decoder: Decoder) -> tuple[list[str], Mask]:
    """Return for each word the extension that it belongs to, and whether ``target`` has it.

    Words that no CPU decodes get the kind :data:`~builder.model.extensions.DATA`, and are not legal.
    """
    kinds = np.full(len(words), OTHER, dtype=object)
    legal = decoder.decodable(words, target.llvm_cpu, target.llvm_attributes)
    kinds[~decoder.decodable(words, "generic", ("+all",))] = DATA
    left = kinds == OTHER
    for blind in BLIND:
        seen = left & (words & np.uint32(blind.mask) == np.uint32(blind.value))
        kinds[seen] = blind.name
        legal[seen] = blind.feature in target
        left &= ~seen
    scalable = np.isin(words >> np.uint32(SPACE_SHIFT) & np.uint32(SPACE_MASK), SCALABLE_SPACES)
    for extension in EXTENSIONS:
        index = np.flatnonzero(left & (scalable == extension.scalable))
        if not len(index):
            continue
        own = index[decoder.decodable(words[index], "generic", extension.attributes)]
        kinds[own] = extension.name
        left[own] = False
    return [str(kind) for kind in kinds], legal


def _distinct(parts: Iterable[Words]) -> Words:
    """Return the distinct words of all parts, sorted."""
    each = [np.unique(part) for part in parts]
    return np.unique(np.concatenate(each)) if each else np.zeros(0, dtype=np.uint32)


def _is_blind(words: Words) -> Mask:
    mask = np.zeros(len(words), dtype=np.bool_)
    for blind in BLIND:
        mask |= words & np.uint32(blind.mask) == np.uint32(blind.value)
    return mask


def _beyond(elf: Elf, code: Code, strange: Words) -> tuple[NDArray[np.intp], _Beyond]:
    """Return the places of ``strange`` words in ``code``, and the index of each into ``strange``."""
    slot = np.searchsorted(strange, code.words)
    known = np.append(strange, np.uint32(0))[slot] == code.words
    index = np.flatnonzero(known & (slot < len(strange)) & ~code.data)
    addresses = np.uint64(code.address) + index.astype(np.uint64) * np.uint64(4)
    symbols = elf.symbols() if len(index) else NO_SYMBOLS
    one = _Beyond(
        member=elf.member,
        addresses=addresses,
        guarded=_guarded(code.words, index),
        symbols=symbols.at(addresses),
        names=symbols.names,
        units=symbols.units,
    )
    return slot[index], one


def _guarded(words: Words, index: NDArray[np.intp]) -> Mask:
    """Return which of the words at ``index`` directly follow the test of the outline atomics."""
    guarded = index >= len(_GUARD)
    for back, mask, value in _GUARD:
        before = words[np.maximum(index - back, 0)]
        guarded &= before & np.uint32(mask) == np.uint32(value)
    return guarded


def _group(
    one: _Beyond, names: list[str], kinds: NDArray[np.int64], legal: Mask, allow: tuple[AllowedCode, ...]
) -> list[Finding]:
    """Return the findings of a member: one for each function, extension and kind of permission."""
    key = ((one.symbols + 1) * len(names) + kinds) * 4 + one.guarded * 2 + legal
    values, first, counts = np.unique(key, return_index=True, return_counts=True)
    findings = []
    for value, at, count in zip(values.tolist(), first.tolist(), counts.tolist(), strict=True):
        number, flags = divmod(value, 4)
        symbol, kind = divmod(number, len(names))
        name, unit = (one.names[symbol - 1], one.units[symbol - 1]) if symbol else (None, None)
        rule = _permission(one.member, name, unit, flags >= 2, names[kind], allow)
        findings.append(
            Finding(one.member, name, names[kind], bool(flags & 1), rule, count, int(one.addresses[at]))
        )
    return findings


def _permission(
    member: str,
    symbol: str | None,
    unit: str | None,
    guarded: bool,
    extension: str,
    allow: tuple[AllowedCode, ...],
) -> str | None:
    """Return the reason why code may have instructions that the target lacks; ``None`` if nothing permits it."""
    if extension == "lse" and (guarded or (symbol or "").startswith(_OUTLINE_PREFIXES)):
        return OUTLINE
    return next((rule.why for rule in allow if rule.covers(member, symbol, unit)), None)


def check_instructions(found: Survey, target: Target) -> Verdict:
    """Check that the target has every instruction, except in code that tests the CPU at run time."""
    check = "instructions"
    allowed: Counter[str] = Counter()
    for one in found.findings:
        if not one.legal and one.rule is not None:
            allowed[one.rule] += one.count
    bad = [one for one in found.findings if not one.legal and one.rule is None]
    data = {
        "instructions": found.instructions,
        "data_words": found.data_words,
        "allowed": dict(allowed.most_common()),
    }
    aside = "".join(f"; {count:,} set aside: {why}" for why, count in allowed.most_common())
    aside += f"; {found.data_words:,} words of data" if found.data_words else ""
    if not bad:
        return passed(check, f"all {found.instructions:,} run on {target}{aside}", **data)
    kinds: Counter[str] = Counter()
    places: Counter[tuple[str, str, str]] = Counter()
    for one in bad:
        kinds[one.extension] += one.count
        places[one.member, one.where, one.extension] += one.count
    top = places.most_common(_TOP)
    named = ", ".join(f"{name} {count:,}" for name, count in kinds.most_common())
    where = "".join(
        f"\n{member}: {_short(symbol)} ({kind} {count:,} times)" for (member, symbol, kind), count in top[:3]
    )
    more = f"\nand {len(places) - 3:,} more places" if len(places) > 3 else ""
    return failed(
        check,
        f"{sum(kinds.values()):,} of {found.instructions:,} do not run on {target}: "
        f"{named}{aside}{where}{more}",
        **data,
        violations=dict(kinds.most_common()),
        top=[
            {"member": member, "symbol": symbol, "extension": kind, "count": count}
            for (member, symbol, kind), count in top
        ],
    )


def _short(symbol: str) -> str:
    return symbol if len(symbol) <= _SYMBOL_SHOWN else f"{symbol[: _SYMBOL_SHOWN - 1]}…"


def check_tuned(found: Survey, promises: tuple[str, ...]) -> Verdict:
    """Check that each promised extension occurs at least once outside code that tests the CPU at run time."""
    check = "tuned-code"
    plain: Counter[str] = Counter()
    chosen: Counter[str] = Counter()
    members: dict[str, Counter[str]] = {}
    for one in found.findings:
        if one.rule is None:
            plain[one.extension] += one.count
            members.setdefault(one.member, Counter())[one.extension] += one.count
        else:
            chosen[one.extension] += one.count
    data = {
        "extensions": dict(plain.most_common()),
        "run_time_chosen": dict(chosen.most_common()),
        "members": {member: dict(counts.most_common()) for member, counts in members.items()},
    }
    seen = ", ".join(f"{name} {count:,}" for name, count in plain.most_common()) or "none beyond Armv8-A"
    missing = [promise for promise in promises if not plain[promise]]
    if missing:
        only = [name for name in missing if chosen[name]]
        hint = f" ({', '.join(only)} only in code chosen at run time)" if only else ""
        return failed(check, f"promised but not found: {', '.join(missing)}{hint}; found: {seen}", **data)
    if not promises:
        return not_applicable(check, f"nothing was promised; found: {seen}", **data)
    return passed(check, f"found: {seen}", **data)
