"""How many bytes an instruction loads and stores, from LLVM's text of it. Pure.

Names are those of the Arm Architecture Reference Manual for A-profile (DDI 0487). SVE instructions count as if all
lanes were active, and prefetches count nothing.
"""

from __future__ import annotations

import re

_SCALAR = {"b": 1, "h": 2, "s": 4, "w": 4, "d": 8, "x": 8, "q": 16}
"""Bytes of a register by the first letter of its name."""
_LANE = {"b": 1, "h": 2, "s": 4, "d": 8, "q": 16, "w": 4}
"""Bytes of a lane by the suffix of a register or of an SVE mnemonic."""
_BOTH = re.compile(r"cas|swp|ld(?:add|clr|eor|set|smax|smin|umax|umin)")
_STORES_WORD = re.compile(r"st(?:add|clr|eor|set|smax|smin|umax|umin)")
_PAIRS = ("ldp", "stp", "ldnp", "stnp", "ldxp", "ldaxp", "stxp", "stlxp", "casp")
_LIST = re.compile(r"\{(.*?)\}(\[\d+\])?")
_SVE_REPLICATED = re.compile(r"ld1r(?P<size>[qo]?)(?P<sign>s?)(?P<lane>[bhwd])")
_SVE = re.compile(r"(?:ld|st)(?:[1-4]|nf1|ff1|nt1)s?(?P<lane>[bhwdq])")


def traffic(text: str, vector_bytes: int) -> tuple[int, int]:
    """Return the bytes that an instruction loads and stores. ``vector_bytes`` is the length of SVE vectors."""
    name, _, operands = text.strip().partition("\t")
    if "[" not in operands and not name.startswith("ldr"):
        return 0, 0
    if _BOTH.match(name) or _STORES_WORD.match(name):
        size = _accessed(name, operands, vector_bytes)
        return size, size
    if name.startswith("ld"):
        return _accessed(name, operands, vector_bytes), 0
    if name.startswith("st"):
        return 0, _accessed(name, operands, vector_bytes)
    return 0, 0


def _accessed(name: str, operands: str, vector_bytes: int) -> int:
    if "{" in operands:
        return _listed(name, operands, vector_bytes)
    registers = [operand.strip() for operand in operands.partition("[")[0].split(",")]
    if name.startswith(("stxr", "stlxr", "stxp", "stlxp")):
        del registers[0]  # the status
    letter = registers[0][:1]
    if letter == "z":
        return vector_bytes
    if letter == "p":
        return vector_bytes // 8
    size = _SCALAR.get(letter, 0)
    if name.endswith("sw"):
        size = 4
    elif name[-1] in "bh" and letter in "wx":
        size = _LANE[name[-1]]
    return size * (2 if name.startswith(_PAIRS) else 1)


def _listed(name: str, operands: str, vector_bytes: int) -> int:
    """The bytes of an instruction with a list of vector registers, such as ``{ v0.4s, v1.4s }``."""
    match = _LIST.match(operands.strip())
    if match is None:
        return 0
    registers = _registers(match.group(1))
    first, _, suffix = registers[0].partition(".")
    if first.startswith("z"):
        if replicated := _SVE_REPLICATED.fullmatch(name):
            return {"q": 16, "o": 32}.get(replicated["size"], _LANE[replicated["lane"]])
        contiguous = _SVE.fullmatch(name)
        if contiguous is None:
            return 0
        return vector_bytes // _LANE[suffix] * _LANE[contiguous["lane"]] * len(registers)
    lane = _LANE[suffix.lstrip("0123456789")]
    if match.group(2) or re.fullmatch(r"ld[1-4]r", name):
        return lane * len(registers)
    return lane * int(suffix.rstrip("bhsd")) * len(registers)


def _registers(text: str) -> list[str]:
    """Return the registers of a list; LLVM writes ``z0.s - z3.s`` for four of them."""
    names = [name.strip() for name in text.split(",")]
    if " - " in names[0]:
        first, last = (name.strip() for name in names[0].split(" - "))
        numbers = [int(re.sub(r"\D", "", name.partition(".")[0])) for name in (first, last)]
        return [first] * ((numbers[1] - numbers[0]) % 32 + 1)
    return names
