"""Workloads of SLEEF: the vector functions that PyTorch and NumPy call, over an array, by Neon and by SVE.

Each first call is compared with Python's ``math``, within the bound that the function promises.
"""

import ctypes
import importlib.util
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import kit

_COUNT = 1024  # a multiple of every vector length
_HWCAP_SVE = 1 << 22
_AT_HWCAP = 16  # getauxval(3)
# The function, its bound in units of 0.1 ulp, and the range of its inputs.
_FUNCTIONS: dict[str, tuple[str, float, float]] = {
    "exp": ("u10", -20, 20),
    "log": ("u10", 0.01, 100),
    "sin": ("u10", -10, 10),
    "cos": ("u10", -10, 10),
    "tan": ("u10", -1.5, 1.5),
    "tanh": ("u10", -5, 5),
    "expm1": ("u10", -5, 5),
    "log1p": ("u10", -0.5, 50),
    "erf": ("u10", -3, 3),
    "atan": ("u10", -20, 20),
}
_PYTHON: dict[str, Callable[[float], float]] = {name: getattr(math, name) for name in _FUNCTIONS}


def _package() -> Path:
    found = importlib.util.find_spec("library_sleef")
    if found is None or found.origin is None:
        raise kit.Unavailable("library_sleef is not installed")
    return Path(found.origin).parent


def _vector(name: str, kind: str, letter: str) -> kit.Run:
    if kind == "sve" and not ctypes.CDLL(None).getauxval(_AT_HWCAP) & _HWCAP_SVE:
        raise kit.Unavailable("this CPU has no SVE")
    bound, low, high = _FUNCTIONS[name]
    real = ctypes.c_float if letter == "f" else ctypes.c_double
    width = {"sve": "x", "advsimd": "4" if letter == "f" else "2"}[kind]
    symbol = f"Sleef_{name}{letter}{width}_{bound}{kind}"
    package = _package()
    [library] = (package / "lib").glob("libsleef.so.*")
    try:
        function = getattr(ctypes.CDLL(str(library)), symbol)
    except AttributeError:
        raise kit.Unavailable(f"this SLEEF has no {symbol}") from None
    driver = ctypes.CDLL(str(package / "driver.so"))
    call = getattr(driver, f"call_{'sve' if kind == 'sve' else 'neon'}_{'f32' if letter == 'f' else 'f64'}")
    numbers = (real * _COUNT)(*(low + (high - low) * place / _COUNT for place in range(_COUNT)))
    results = (real * _COUNT)()
    call.restype = None
    run = partial(call, function, numbers, results, ctypes.c_size_t(_COUNT))
    run()
    digits = 2.0**-23 if letter == "f" else 2.0**-52
    for number, result in zip(numbers, results, strict=True):
        expected = _PYTHON[name](number)
        # An ulp of the result is at most `digits` of it; for tiny results, of the smallest normal number.
        if not abs(result - expected) <= 1.5 * digits * max(abs(expected), 1e-30):
            raise ValueError(f"{symbol}({number}) is {result} in place of {expected}")
    return run


_KINDS = {"advsimd": "Neon", "sve": "SVE"}
_LETTERS = {"f": "float32", "d": "float64"}
WORKLOADS = tuple(
    kit.Workload(
        f"{name} {_LETTERS[letter]} {about}", f"{_COUNT} elements", partial(_vector, name, kind, letter)
    )
    for name in _FUNCTIONS
    for letter in _LETTERS
    for kind, about in _KINDS.items()
)

if __name__ == "__main__":
    kit.main("library_sleef", WORKLOADS)
