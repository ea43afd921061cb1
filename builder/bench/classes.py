"""Classifies instruction words by a table. The first matching row counts. Pure.

The encodings are from the Arm Architecture Reference Manual for A-profile (DDI 0487): chapter C4 for the encoding
groups, and chapters C7 and C8 for the dot-product and matrix instructions. A word that matches no row is scalar:
integer arithmetic, scalar loads and stores, branches. A test compares each row with LLVM's assembler.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from builder.audit.decode import Words

CLASSES = ("sve-dot", "sve", "neon-dot", "neon", "fp", "sme")
"""Class names.

``*-dot`` are dot-product and matrix instructions, which tuned int8 and bfloat16 kernels mostly use. ``sve`` and
``neon`` are the other vector instructions, including loads and stores of whole vectors. ``fp`` is scalar floating
point.
"""


class Row(NamedTuple):
    """A row of the table: words with ``word & mask == value`` belong to class ``kind``."""

    kind: str
    mask: int
    value: int


_SVE_DOT = (
    (0xFFA0F800, 0x44800000),  # SDOT, UDOT by vector
    (0xFFE0FC00, 0x44807800),  # USDOT by vector
    (0xFFA0F800, 0x44A00000),  # SDOT, UDOT by element
    (0xFFE0F800, 0x44A01800),  # USDOT, SUDOT by element
    (0xFF20FC00, 0x45009800),  # SMMLA, USMMLA, UMMLA
    (0xFFE0FC00, 0x64608000),  # BFDOT by vector
    (0xFFE0FC00, 0x64604000),  # BFDOT by element
    (0xFFE0FC00, 0x6460E400),  # BFMMLA
    (0xFFA0FC00, 0x64A0E400),  # FMMLA of float32 and float64
    (0xFFE0F800, 0x64E08000),  # BFMLALB, BFMLALT by vector
    (0xFFE0F000, 0x64E04000),  # the same by element
)
_NEON_DOT = (
    (0x9FE0FC00, 0x0E809400),  # SDOT, UDOT by vector
    (0xBFE0FC00, 0x0E809C00),  # USDOT by vector
    (0x9FC0F400, 0x0F80E000),  # SDOT, UDOT by element
    (0xBF80F400, 0x0F00F000),  # SUDOT, BFDOT, by element
    (0xBFC0F400, 0x0F80F000),  # USDOT by element
    (0xBFC0F400, 0x0FC0F000),  # BFMLALB, BFMLALT by element
    (0xDFE0FC00, 0x4E80A400),  # SMMLA, UMMLA
    (0xFFE0FC00, 0x4E80AC00),  # USMMLA
    (0xBFE0FC00, 0x2E40FC00),  # BFDOT by vector
    (0xFFE0FC00, 0x6E40EC00),  # BFMMLA
    (0xBFE0FC00, 0x2EC0FC00),  # BFMLALB, BFMLALT by vector
)

TABLE: tuple[Row, ...] = (
    *(Row("sve-dot", mask, value) for mask, value in _SVE_DOT),
    Row("sve", 0x1E000000, 0x04000000),
    *(Row("neon-dot", mask, value) for mask, value in _NEON_DOT),
    Row("neon", 0x9E000000, 0x0E000000),  # vector arithmetic and moves
    Row("neon", 0xBE000000, 0x0C000000),  # LD1 to LD4, ST1 to ST4
    Row("neon", 0xFE800000, 0x3C800000),  # LDR, STR of a Q register
    Row("neon", 0xFE000000, 0xAC000000),  # LDP, STP of Q registers
    Row("neon", 0xFF000000, 0x9C000000),  # LDR of a Q register from a literal
    Row("fp", 0x1E000000, 0x1E000000),
    Row("sme", 0x9E000000, 0x80000000),
)


def classify(word: int) -> str | None:
    """Return the class of an instruction word; ``None`` for a scalar one."""
    [number] = classes_of(np.array([word], dtype=np.uint32)).tolist()
    return CLASSES[number] if number >= 0 else None


def classes_of(words: Words) -> NDArray[np.int8]:
    """Return for each word the index of its class in :data:`CLASSES`; -1 for a scalar one."""
    numbers = np.full(len(words), -1, dtype=np.int8)
    for row in reversed(TABLE):
        numbers[words & np.uint32(row.mask) == np.uint32(row.value)] = CLASSES.index(row.kind)
    return numbers
