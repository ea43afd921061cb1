"""Workloads of Arm Compute Library, through the C interface of ``acl_calls.cpp``.

Some elements of each first result are compared with sums in Python.
"""

import ctypes
import importlib.util
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import kit

_CHECKED = 6
_PERIOD = 1009  # of inputs: a prime, so that rows differ
_TOLERANCES = {"f32": 1e-4, "f16": 1e-2}


@cache
def _driver() -> ctypes.CDLL:
    found = importlib.util.find_spec("library_acl")
    if found is None or found.origin is None:
        raise kit.Unavailable("library_acl is not installed")
    driver = ctypes.CDLL(str(Path(found.origin).with_name("driver.so")))
    driver.one_thread()
    return driver


def _numbers(count: int, seed: int) -> Any:
    period = [((place * 7 + place // 11 * 13 + seed * 5) % 17 - 8) / 16 for place in range(_PERIOD)]
    return (ctypes.c_float * count)(*(period * (count // _PERIOD + 1))[:count])


def _made(
    kind: str, name: str, sizes: Sequence[int], inputs: Sequence[Any], results: int
) -> tuple[kit.Run, Any]:
    """Make a function, run it once, and return it with its result."""
    driver = _driver()
    make = getattr(driver, f"make_{name}")
    make.restype = ctypes.c_void_p
    call = ctypes.c_void_p(make(*sizes, int(kind == "f16")))
    if not call:
        raise kit.Unavailable(f"this library refuses {name} in {kind}")
    for number, values in enumerate(inputs):
        driver.put(call, number, values)
    run = partial(driver.run, call)
    run()
    result = (ctypes.c_float * results)()
    driver.get(call, result)
    return run, result


def _check(kind: str, found: Sequence[float], expected: Sequence[float]) -> None:
    most = max(map(abs, expected)) + 1e-30
    for one, other in zip(found, expected, strict=True):
        if not abs(one - other) <= _TOLERANCES[kind] * most + 1e-6:
            raise ValueError(f"wrong result: {one} in place of {other}")


def _product(kind: str, rows: int, inner: int, columns: int) -> kit.Run:
    a, b = _numbers(rows * inner, 1), _numbers(inner * columns, 2)
    run, c = _made(kind, "gemm", (rows, inner, columns), (a, b), rows * columns)
    places = [(place * 37 % rows, place * 53 % columns) for place in range(1, _CHECKED + 1)]
    _check(
        kind,
        [c[row * columns + column] for row, column in places],
        [sum(a[row * inner + k] * b[k * columns + column] for k in range(inner)) for row, column in places],
    )
    return run


def _convolution(kind: str, channels: int, size: int, window: int, *, depthwise: bool = False) -> kit.Run:
    image = _numbers(channels * size * size, 1)
    filters = _numbers(channels * window**2 * (1 if depthwise else channels), 2)
    name = "depthwise" if depthwise else "convolution"
    run, found = _made(kind, name, (channels, size, window), (image, filters), channels * size * size)

    def expected(channel: int, row: int, column: int) -> float:
        total = 0.0
        for i in range(window):
            for j in range(window):
                y, x = row + i - window // 2, column + j - window // 2
                if not (0 <= y < size and 0 <= x < size):
                    continue
                pixel = (y * size + x) * channels
                if depthwise:
                    total += image[pixel + channel] * filters[(i * window + j) * channels + channel]
                    continue
                first = ((channel * window + i) * window + j) * channels
                total += sum(image[pixel + one] * filters[first + one] for one in range(channels))
        return total

    places = [(p * 31 % channels, p * 17 % size, p * 13 % size) for p in range(1, _CHECKED + 1)]
    _check(
        kind, [found[(y * size + x) * channels + c] for c, y, x in places], [expected(*one) for one in places]
    )
    return run


_COUNT = 16384
_ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "relu": lambda x: max(x, 0.0),
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
}


def _elementwise(name: str, kind: str) -> kit.Run:
    values = _numbers(_COUNT, 3)
    if name == "exp":
        run, found = _made(kind, "exp", (_COUNT,), (values,), _COUNT)
    else:
        number = list(_ACTIVATIONS).index(name)
        run, found = _made(kind, "activation", (number, _COUNT), (values,), _COUNT)
    function = _ACTIVATIONS.get(name, math.exp)
    places = [place * 97 for place in range(_CHECKED)]
    _check(kind, [found[one] for one in places], [function(values[one]) for one in places])
    return run


def _softmax(kind: str, rows: int, columns: int) -> kit.Run:
    values = _numbers(rows * columns, 4)
    run, found = _made(kind, "softmax", (rows, columns), (values,), rows * columns)
    last = (rows - 1) * columns
    total = sum(map(math.exp, values[last:]))
    _check(kind, found[last:], [math.exp(one) / total for one in values[last:]])
    return run


def _maximum(kind: str, channels: int, size: int) -> kit.Run:
    values = _numbers(channels * size * size, 5)
    run, found = _made(kind, "maximum", (channels, size), (values,), channels * (size // 2) ** 2)
    corners = [values[(y * size + x) * channels] for y in (0, 1) for x in (0, 1)]
    _check(kind, [found[0]], [max(corners)])
    return run


# Debian compiles the library for Armv8.0: it refuses float16.
_KIND = "f32"
WORKLOADS = (
    *(
        kit.Workload(f"gemm {n}", f"{n} x {n} times {n} x {n}", partial(_product, _KIND, n, n, n))
        for n in (32, 64, 128, 256, 384)
    ),
    *(
        kit.Workload(f"gemm {rows} x 512", "times 512 x 512", partial(_product, _KIND, rows, 512, 512))
        for rows in (1, 4, 16, 64)
    ),
    *(
        kit.Workload(
            f"conv {window} x {window}, {channels}",
            f"{channels} channels of 14 x 14",
            partial(_convolution, _KIND, channels, 14, window),
        )
        for channels in (16, 32, 64)
        for window in (1, 3, 5, 7)
    ),
    *(
        kit.Workload(
            f"depthwise {window} x {window}, {channels}",
            f"{channels} channels of 28 x 28",
            partial(_convolution, _KIND, channels, 28, window, depthwise=True),
        )
        for channels in (32, 64, 128)
        for window in (3, 5)
    ),
    *(
        kit.Workload(name, f"{_COUNT} elements", partial(_elementwise, name, _KIND))
        for name in (*_ACTIVATIONS, "exp")
    ),
    *(
        kit.Workload(
            f"softmax {columns}", f"{rows} rows of {columns}", partial(_softmax, _KIND, rows, columns)
        )
        for rows, columns in ((128, 64), (32, 512), (4, 4096))
    ),
    *(
        kit.Workload(
            f"max pool {channels}",
            f"{channels} channels of 28 x 28, 2 x 2",
            partial(_maximum, _KIND, channels, 28),
        )
        for channels in (16, 64)
    ),
)

if __name__ == "__main__":
    kit.main("library_acl", WORKLOADS)
