"""Finds the instructions of a wheel beyond Armv8.0-A, and checks whether the target has them.

LLVM decodes each distinct word of the executable sections as Armv8.0-A. For the words that it refuses, LLVM tells
whether the target's CPU decodes them, and whether any CPU does. Words that no CPU decodes are data within code.

Two kinds of code may have instructions that the target lacks, since they test the CPU at run time: functions that a
recipe allows by name, and what compilers link into every file (:mod:`builder.audit.signatures`).
:mod:`builder.audit.places` judges all others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from builder.audit.decode import Decoder, Mask, Words
from builder.audit.elf import Addresses, Code, Elf, Symbols
from builder.audit.signatures import OUTLINE, SIGNATURES, signed
from builder.audit.text import parts
from builder.audit.verdicts import Verdict, failed, not_applicable, passed
from builder.model.expectations import AllowedCode
from builder.model.extensions import DATA, EXTENSIONS, OTHER, SCALABLE_SPACES, SPACE_MASK, SPACE_SHIFT
from builder.model.system_space import ANY, SYSTEM, SYSTEM_MASK, SYSTEM_VALUE
from builder.targets import Target

_NONE = np.zeros(0, dtype=np.intp)
_OUTLINE_PREFIXES = ("__aarch64_cas", "__aarch64_swp", "__aarch64_ld")


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
    addresses: Addresses = field(
        default_factory=lambda: np.zeros(0, dtype=np.uint64), compare=False, repr=False
    )

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
    signatures: NDArray[np.int8]
    symbols: NDArray[np.intp]
    functions: Symbols


def survey(elves: Iterable[Elf], target: Target, allow: tuple[AllowedCode, ...], decoder: Decoder) -> Survey:
    """Count the instructions beyond Armv8-A in all ``elves``, by member, function and extension.

    Raises:
        AuditError: the decoder does not run.
        MalformedElfError: a section extends beyond its file.
    """
    codes = [(elf, code) for elf in elves for code in elf.code()]
    words = _distinct(code for _, code in codes)
    strange = words[~decoder.decodable(words, "generic") | _needs_extension(words)]
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
    system = np.flatnonzero(left & _is_system(words))
    rows = _system_rows(words[system])
    kinds[system] = [SYSTEM[row].name for row in rows]
    legal[system] = [SYSTEM[row].feature in target for row in rows]
    left[system] = False
    scalable = np.isin(words >> np.uint32(SPACE_SHIFT) & np.uint32(SPACE_MASK), SCALABLE_SPACES)
    for extension in EXTENSIONS:
        index = np.flatnonzero(left & (scalable == extension.scalable))
        if not len(index):
            continue
        own = index[decoder.decodable(words[index], "generic", extension.attributes)]
        kinds[own] = extension.name
        left[own] = False
    return [str(kind) for kind in kinds], legal


def _distinct(codes: Iterable[Code]) -> Words:
    """Return the distinct words of all sections that are not marked as data, sorted."""
    each = [
        np.unique(part[~code.data[first : first + len(part)]])
        for code in codes
        for first, part in parts(code.words)
    ]
    return np.unique(np.concatenate(each)) if each else np.zeros(0, dtype=np.uint32)


def _is_system(words: Words) -> Mask:
    mask: Mask = words & np.uint32(SYSTEM_MASK) == np.uint32(SYSTEM_VALUE)
    return mask


def _system_rows(words: Words) -> NDArray[np.intp]:
    """Return for each system instruction the index of its row in :data:`~builder.model.system_space.SYSTEM`."""
    rows = np.full(len(words), -1, dtype=np.intp)
    for index, row in enumerate(SYSTEM):
        rows[(rows < 0) & (words & np.uint32(row.mask) == np.uint32(row.value))] = index
    return rows


def _needs_extension(words: Words) -> Mask:
    """Return which words are system instructions that some CPUs lack. LLVM decodes them for every CPU."""
    mask = _is_system(words)
    mask[mask] = [SYSTEM[row].feature != ANY for row in _system_rows(words[mask])]
    return mask


def _beyond(elf: Elf, code: Code, strange: Words) -> tuple[NDArray[np.intp], _Beyond]:
    """Return the places of ``strange`` words in ``code``, and the index of each into ``strange``."""
    index = np.concatenate(
        [first + np.flatnonzero(np.isin(part, strange)) for first, part in parts(code.words)] or [_NONE]
    )
    index = index[~code.data[index]]
    addresses = np.uint64(code.address) + index.astype(np.uint64) * np.uint64(4)
    symbols = elf.symbols
    one = _Beyond(
        member=elf.member,
        addresses=addresses,
        signatures=signed(code.words, index),
        symbols=symbols.at(addresses),
        functions=symbols,
    )
    return np.searchsorted(strange, code.words[index]), one


def _group(
    one: _Beyond, names: list[str], kinds: NDArray[np.int64], legal: Mask, allow: tuple[AllowedCode, ...]
) -> list[Finding]:
    """Return the findings of a member: one for each function, extension and kind of permission."""
    if not len(one.addresses):
        return []
    signatures = len(SIGNATURES) + 1
    key = (((one.symbols + 1) * len(names) + kinds) * signatures + one.signatures + 1) * 2 + legal
    order = np.argsort(key, kind="stable")
    values, first = np.unique(key[order], return_index=True)
    findings = []
    for value, places in zip(values.tolist(), np.split(one.addresses[order], first[1:]), strict=True):
        number, is_legal = divmod(value, 2)
        number, signature = divmod(number, signatures)
        symbol, kind = divmod(number, len(names))
        functions, index = one.functions, symbol - 1
        name, unit = (functions.name(index), functions.unit(index)) if symbol else (None, None)
        rule = _permission(one.member, name, unit, signature - 1, names[kind], allow)
        findings.append(
            Finding(one.member, name, names[kind], bool(is_legal), rule, len(places), int(places[0]), places)
        )
    return findings


def _permission(
    member: str,
    symbol: str | None,
    unit: str | None,
    signature: int,
    extension: str,
    allow: tuple[AllowedCode, ...],
) -> str | None:
    """Return the reason why code may have instructions that the target lacks; ``None`` if nothing permits it."""
    if signature >= 0 and extension == SIGNATURES[signature].extension:
        return SIGNATURES[signature].why
    if extension == "lse" and (symbol or "").startswith(_OUTLINE_PREFIXES):
        return OUTLINE
    return next((rule.why for rule in allow if rule.covers(member, symbol, unit)), None)


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
