"""Runs inside the emulated environment, beside libc10.so and an extension of it: do they work together?

One JSON line a check, on standard output.
"""

import ctypes
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kit import report


def main() -> None:
    folder = Path.cwd()
    ctypes.CDLL(str(folder / "libc10.so"), mode=ctypes.RTLD_GLOBAL)
    extension = ctypes.CDLL(str(folder / "c10_component.so"))
    report({name: partial(check, extension) for name, check in CHECKS.items()})


def _rounded(function: Any, expected: dict[float, float]) -> tuple[bool, str]:
    function.argtypes, function.restype = [ctypes.c_float], ctypes.c_float
    given = [function(value) for value in expected]
    return given == list(expected.values()), f"{given}"


def _allocator(extension: ctypes.CDLL) -> tuple[bool, str]:
    function, offset = extension.sum_in_c10_memory, ctypes.c_int64(-1)
    function.argtypes, function.restype = [ctypes.c_int64, ctypes.POINTER(ctypes.c_int64)], ctypes.c_int64
    total = function(10_000, ctypes.byref(offset))
    return total == 49_995_000 and offset.value == 0, f"sum {total}, address modulo 64 is {offset.value}"


def _exception(extension: ctypes.CDLL) -> tuple[bool, str]:
    text = ctypes.create_string_buffer(200)
    extension.caught_message(text, len(text))
    said = text.value.decode()
    return said == "seven is 7", f"caught across libraries: {said!r}"


def _names(extension: ctypes.CDLL) -> tuple[bool, str]:
    extension.name_of_bfloat16.restype = ctypes.c_char_p
    name = extension.name_of_bfloat16().decode()
    return name == "BFloat16", name


CHECKS: dict[str, Callable[[ctypes.CDLL], tuple[bool, str]]] = {
    "bfloat16": lambda of: _rounded(of.through_bfloat16, {1.0: 1.0, 3.14159274: 3.140625, 65537.0: 65536.0}),
    "half": lambda of: _rounded(of.through_half, {1.0: 1.0, 3.14159274: 3.140625, 65519.0: 65504.0}),
    "references": lambda of: (of.left_alive(1000) == 0, "1,000 references to one object"),
    "allocator": _allocator,
    "exception": _exception,
    "names": _names,
}

if __name__ == "__main__":
    main()
