"""Sequences of machine code of runtime libraries that test the CPU, or its state, before a later instruction.

Compilers link these into every file, so that the audit knows them by their words: a stripped file has no names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builder.audit.decode import Mask, Words

OUTLINE = "outline atomics"


@dataclass(frozen=True)
class Signature:
    """Words around an instruction of ``extension``: offset from it in words, mask and value.

    It covers instructions of the extension in ``span`` words from there on. ``why`` is the reason in reports.
    """

    extension: str
    words: tuple[tuple[int, int, int], ...]
    why: str
    span: int = 1


_CBNZ = (0x7F000000, 0x35000000)
SIGNATURES = (
    # adrp x16; ldrb w16, [x16, #n]; cbz w16: lse.S of libgcc and compiler-rt.
    Signature(
        "lse",
        ((-3, 0x9F00001F, 0x90000010), (-2, 0xFFC003FF, 0x39400210), (-1, 0xFF00001F, 0x34000010)),
        OUTLINE,
    ),
    # The same where BOLT moved the function, and wrote over its start: adrp x16; add x16, x16, #n; br x16; cbz w16.
    Signature(
        "lse",
        (
            (-4, 0x9F00001F, 0x90000010),
            (-3, 0xFFC003FF, 0x91000210),
            (-2, 0xFFFFFFFF, 0xD61F0200),
            (-1, 0xFF00001F, 0x34000010),
        ),
        OUTLINE,
    ),
    # libgcc's unwinder reads VG by cntd, when a frame's table asks for it, and keeps it: cbnz; cntd x0; str w0.
    Signature(
        "sve",
        ((-1, *_CBNZ), (0, 0xFFFFFFFF, 0x04E0E3E0), (1, 0xFFC0001F, 0xB9000000)),
        "the unwinder reads the vector length for frames that saved SVE registers",
    ),
    Signature(
        "sve",
        ((-1, *_CBNZ), (0, 0xFFFFFFFF, 0x04E0E3E0), (1, 0xFFFFFFE0, 0xAA0003E0), (2, 0xFFC0001F, 0xB9000000)),
        "the unwinder reads the vector length for frames that saved SVE registers",
    ),
    # Older releases widen the value: cntd x0; sxtw, up to two words later.
    *(
        Signature(
            "sve",
            ((0, 0xFFFFFFFF, 0x04E0E3E0), (distance, 0xFFFFFFE0, 0x93407C00)),
            "the unwinder reads the vector length for frames that saved SVE registers",
        )
        for distance in (1, 2, 3)
    ),
    # It clears the tags of a frame that the table marks as tagged: stg; add #16.
    Signature(
        "mte",
        ((0, 0xFFFFFC00, 0xD9200800), (1, 0xFFFFFC00, 0x91004000)),
        "the unwinder clears the memory tags of frames that have them",
    ),
    # __arm_za_disable begins with mrs x16, TPIDR2_EL0; cbz x16. Its callers test for SME (AAPCS64, section 8.8).
    Signature(
        "sme",
        ((0, 0xFFFFFFE0, 0xD53BD0A0), (1, 0x7F000000, 0x34000000)),
        "__arm_za_disable, which its callers reach on CPUs with SME",
        span=24,
    ),
)


def signed(words: Words, index: NDArray[np.intp]) -> NDArray[np.int8]:
    """Return for each word at ``index``, which is sorted, the signature that covers it, or -1."""
    found = np.full(len(index), -1, dtype=np.int8)
    for number, signature in enumerate(SIGNATURES):
        begins = index[_matches(words, index, signature)]
        if not len(begins):
            continue
        last = np.searchsorted(begins, index, side="right") - 1
        covered = (last >= 0) & (index - begins[np.maximum(last, 0)] < signature.span)
        found[(found < 0) & covered] = number
    return found


def _matches(words: Words, index: NDArray[np.intp], signature: Signature) -> Mask:
    """Return at which of the words at ``index`` all words of the signature stand."""
    mask = np.ones(len(index), dtype=np.bool_)
    for offset, bits, value in signature.words:
        place = index + offset
        inside = (place >= 0) & (place < len(words))
        there = words[np.clip(place, 0, max(len(words) - 1, 0))]
        mask &= inside & (there & np.uint32(bits) == np.uint32(value))
    return mask
