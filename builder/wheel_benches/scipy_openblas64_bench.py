"""Workloads of OpenBLAS, called through CBLAS: products by layout and size, and what else NumPy and SciPy call.

Each first call is compared with sums that Python computes, on some elements. A count includes the call through
ctypes, some thousands of instructions.
"""

import ctypes
import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

import kit

Numbers = Any  # lists and arrays of ctypes
Real = type[ctypes.c_float] | type[ctypes.c_double]

_REALS: dict[str, Real] = {"s": ctypes.c_float, "d": ctypes.c_double}
_TOLERANCES = {"s": 1e-4, "d": 1e-11}
_ROWS, _PLAIN, _TRANSPOSED, _LOWER, _NON_UNIT, _LEFT = 101, 111, 112, 122, 131, 141  # cblas.h
_CHECKED = 6  # elements of each result
_VECTOR = 65536
_int = ctypes.c_int64


def _function(name: str) -> "ctypes._NamedFuncPointer":
    found = importlib.util.find_spec("scipy_openblas64")
    if found is None or found.origin is None:
        raise kit.Unavailable("scipy_openblas64 is not installed")
    # Debian's OpenBLAS has the plain names. Its integers have 32 bits: of an argument in a register, or of a
    # little-endian slot of the stack, it reads the lower half.
    [path] = Path(found.origin).parent.glob("lib/lib*openblas*.so*")
    library = ctypes.CDLL(str(path))
    function: ctypes._NamedFuncPointer | None = getattr(library, f"scipy_cblas_{name}64_", None)
    function = function or getattr(library, f"cblas_{name}", None)
    if function is None:
        raise kit.Unavailable(f"this OpenBLAS has no cblas_{name}")
    return function


def _numbers(real: Real, count: int, seed: int) -> Numbers:
    return (real * count)(
        *[(place * place * 7 + place * seed * 13) % 1009 / 1009 - 0.5 for place in range(count)]
    )


def _check(letter: str, found: Numbers, expected: Numbers) -> None:
    for one, other in zip(found, expected, strict=True):
        if not abs(one - other) <= _TOLERANCES[letter] * (1 + abs(other)):
            raise ValueError(f"wrong result: {one} in place of {other}")


def _dot(x: Numbers, y: Numbers) -> float:
    total: float = sum(a * b for a, b in zip(x, y, strict=True))
    return total


def _line(matrix: Numbers, size: int, number: int, *, column: bool) -> Numbers:
    return matrix[number::size] if column else matrix[number * size : (number + 1) * size]


def _places(size: int) -> list[tuple[int, int]]:
    return [(place * 37 % size, place * 53 % size) for place in range(1, _CHECKED + 1)]


def _gemm(letter: str, layout: str, size: int) -> kit.Run:
    real, call = _REALS[letter], _function(f"{letter}gemm")
    a, b = (_numbers(real, size * size, seed) for seed in (1, 2))
    c = (real * (size * size))()
    flags = [_TRANSPOSED if one == "t" else _PLAIN for one in layout]
    n = _int(size)
    run = partial(call, _ROWS, *flags, n, n, n, real(1), a, n, b, n, real(0), c, n)
    run()
    places = _places(size)
    expected = [
        _dot(_line(a, size, row, column=layout[0] == "t"), _line(b, size, column, column=layout[1] == "n"))
        for row, column in places
    ]
    _check(letter, [c[row * size + column] for row, column in places], expected)
    return run


def _gemv(letter: str, layout: str, size: int) -> kit.Run:
    real, call = _REALS[letter], _function(f"{letter}gemv")
    a, x = _numbers(real, size * size, 1), _numbers(real, size, 2)
    y, n, one = (real * size)(), _int(size), _int(1)
    flag = _TRANSPOSED if layout == "t" else _PLAIN
    run = partial(call, _ROWS, flag, n, n, real(1), a, n, x, one, real(0), y, one)
    run()
    rows = [row for row, _ in _places(size)]
    expected = [_dot(_line(a, size, row, column=layout == "t"), x) for row in rows]
    _check(letter, [y[row] for row in rows], expected)
    return run


def _syrk(letter: str, size: int) -> kit.Run:
    real, call = _REALS[letter], _function(f"{letter}syrk")
    a, c, n = _numbers(real, size * size, 1), (real * (size * size))(), _int(size)
    run = partial(call, _ROWS, _LOWER, _PLAIN, n, n, real(1), a, n, real(0), c, n)
    run()
    places = [(max(place), min(place)) for place in _places(size)]
    expected = [
        _dot(_line(a, size, row, column=False), _line(a, size, column, column=False))
        for row, column in places
    ]
    _check(letter, [c[row * size + column] for row, column in places], expected)
    return run


def _trsm(letter: str, size: int) -> kit.Run:
    real, call = _REALS[letter], _function(f"{letter}trsm")
    a, b = _numbers(real, size * size, 1), _numbers(real, size * size, 2)
    for number in range(size):
        a[number * (size + 1)] = size  # a heavy diagonal, so that repeated calls do not grow
    before = list(b)
    n = _int(size)
    run = partial(call, _ROWS, _LEFT, _LOWER, _PLAIN, _NON_UNIT, n, n, real(1), a, n, b, n)
    run()
    places = _places(size)
    again = [
        _dot(_line(a, size, row, column=False)[: row + 1], _line(b, size, column, column=True)[: row + 1])
        for row, column in places
    ]
    _check(letter, again, [before[row * size + column] for row, column in places])

    kept = (real * len(before))(*before)

    def restored() -> None:
        ctypes.memmove(b, kept, ctypes.sizeof(b))  # else, the values become denormal
        run()

    return restored


def _dot_product(letter: str) -> kit.Run:
    real, call = _REALS[letter], _function(f"{letter}dot")
    x, y = (_numbers(real, _VECTOR, seed) for seed in (1, 2))
    call.restype = real
    run = partial(call, _int(_VECTOR), x, _int(1), y, _int(1))
    _check(letter, [run() / _VECTOR], [_dot(x, y) / _VECTOR])
    return run


def _axpy(letter: str) -> kit.Run:
    real, call = _REALS[letter], _function(f"{letter}axpy")
    x, y = (_numbers(real, _VECTOR, seed) for seed in (1, 2))
    before = y[:_CHECKED]
    run = partial(call, _int(_VECTOR), real(0.5), x, _int(1), y, _int(1))
    run()
    _check(letter, y[:_CHECKED], [b + 0.5 * a for a, b in zip(x[:_CHECKED], before, strict=True)])
    return run


_SIZES = (32, 128, 256)
_LAYOUTS = {"nn": "A B", "nt": "A Bᵀ", "tn": "Aᵀ B"}
WORKLOADS = (
    *(
        kit.Workload(f"{s}gemm {layout} {n}", f"{about}, {n} x {n}", partial(_gemm, s, layout, n))
        for s in _REALS
        for layout, about in _LAYOUTS.items()
        for n in _SIZES
    ),
    *(kit.Workload(f"{s}gemm nn 384", "A B, 384 x 384", partial(_gemm, s, "nn", 384)) for s in _REALS),
    *(
        kit.Workload(f"{s}gemv {layout} 256", "a matrix times a vector", partial(_gemv, s, layout, 256))
        for s in _REALS
        for layout in ("n", "t")
    ),
    *(kit.Workload(f"{s}syrk 128", "A Aᵀ, half of it", partial(_syrk, s, 128)) for s in _REALS),
    *(kit.Workload(f"{s}trsm 128", "a triangular solve", partial(_trsm, s, 128)) for s in _REALS),
    *(kit.Workload(f"{s}dot", f"{_VECTOR} elements", partial(_dot_product, s)) for s in _REALS),
    *(kit.Workload(f"{s}axpy", f"{_VECTOR} elements", partial(_axpy, s)) for s in _REALS),
)

if __name__ == "__main__":
    kit.main("scipy_openblas64", WORKLOADS)
