"""Bytes of memory that instructions access, from LLVM's text of them."""

from __future__ import annotations

import pytest

from builder.bench.memory import traffic

LOADS = {
    "ldr\tq0, [x1], #16": 16,
    "ldrb\tw0, [x1]": 1,
    "ldrsh\tw0, [x1]": 2,
    "ldrsw\tx0, [x1]": 4,
    "ldr\tx0, [x1]": 8,
    "ldr\tb0, [x1]": 1,
    "ldr\ts0, [x1, x2, lsl #2]": 4,
    "ldur\tx0, [x1, #-8]": 8,
    "ldr\tx0, #8": 8,
    "ldrsw\tx0, #8": 4,
    "ldp\tq0, q1, [x1, #32]": 32,
    "ldp\tx29, x30, [sp], #16": 16,
    "ldpsw\tx0, x2, [x1]": 8,
    "ldnp\tq0, q1, [x1]": 32,
    "ldxr\tw0, [x1]": 4,
    "ldarb\tw0, [x1]": 1,
    "ld1\t{ v0.4s, v1.4s, v2.4s, v3.4s }, [x0], #64": 64,
    "ld1\t{ v0.8b }, [x0]": 8,
    "ld1\t{ v0.s }[1], [x0]": 4,
    "ld2\t{ v0.d, v1.d }[0], [x0]": 16,
    "ld1r\t{ v0.4s }, [x0]": 4,
    "ld4r\t{ v0.8h, v1.8h, v2.8h, v3.8h }, [x0]": 8,
    "ld1w\t{ z0.s }, p0/z, [x0]": 32,
    "ld1b\t{ z0.s }, p0/z, [x0, x1]": 8,
    "ld1sh\t{ z0.d }, p0/z, [x0]": 8,
    "ld4w\t{ z30.s - z1.s }, p0/z, [x0]": 128,
    "ld2d\t{ z0.d, z1.d }, p0/z, [x0]": 64,
    "ld1rw\t{ z0.s }, p0/z, [x0]": 4,
    "ld1rqw\t{ z0.s }, p0/z, [x0]": 16,
    "ld1rob\t{ z0.b }, p0/z, [x0]": 32,
    "ld1rsh\t{ z0.d }, p0/z, [x0]": 2,
    "ldff1d\t{ z0.d }, p0/z, [x0, z1.d]": 32,
    "ldr\tz0, [x0]": 32,
}
STORES = {
    "stp\td8, d9, [sp, #-64]!": 16,
    "str\th0, [x1]": 2,
    "sturb\tw0, [x1, #-1]": 1,
    "st3\t{ v0.16b, v1.16b, v2.16b }, [x0]": 48,
    "st1w\t{ z0.s }, p0, [x0]": 32,
    "stnt1d\t{ z0.d }, p0, [x0]": 32,
    "str\tp0, [x0]": 4,
    "stlxr\tw3, x0, [x1]": 8,
    "stxp\tw3, x0, x2, [x1]": 16,
    "stlr\tw0, [x1]": 4,
}
BOTH = {
    "ldadd\tx0, x2, [x1]": 8,
    "ldaddalh\tw0, w2, [x1]": 2,
    "casb\tw0, w2, [x1]": 1,
    "caspal\tx0, x1, x2, x3, [x4]": 16,
    "swp\tw0, w2, [x1]": 4,
    "stadd\tw0, [x1]": 4,
}
NEITHER = (
    "prfm\tpldl1keep, [x0]",
    "prfb\tpldl1keep, p0, [x0]",
    "add\tx0, x1, x2",
    "fmla\tv0.4s, v1.4s, v2.s[1]",
    "mov\tv0.s[1], v1.s[0]",
    "ret",
)


@pytest.mark.parametrize("text", [*LOADS, *STORES, *BOTH, *NEITHER])
def test_the_operands_say_how_many_bytes_an_instruction_accesses(text: str) -> None:
    both = BOTH.get(text, 0)
    assert traffic(text, vector_bytes=32) == (LOADS.get(text, both), STORES.get(text, both))
