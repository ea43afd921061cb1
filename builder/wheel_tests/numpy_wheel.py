"""Runs inside the emulated environment: does this NumPy give the stored results?

The inputs are exact in binary, so the sums are exact too; the other results were computed to 50 digits once
(the command stands in numpy_wheel.json). One JSON line a check, on standard output.
"""

import cmath
import json
from functools import partial
from pathlib import Path
from typing import Any

from kit import report


def check_import(expected: Any) -> tuple[bool, str]:
    import numpy as np

    return np.__version__ == expected, f"numpy {np.__version__}"


def check_show_config(expected: Any) -> tuple[bool, str]:
    import numpy as np

    config = np.show_config(mode="dicts")
    blas = config["Build Dependencies"]["blas"]["name"]
    found = config["SIMD Extensions"].get("found", [])
    text = json.dumps(config)
    clean = "/home/" not in text and "/var/" not in text
    return blas == expected and clean, f"blas {blas}; run-time dispatch found {' '.join(found) or 'nothing'}"


def check_matmul(expected: Any) -> tuple[bool, str]:
    import numpy as np

    worst = []
    for dtype in ("float32", "float64", "int64", "complex128"):
        rows, columns = np.indices((128, 128))
        a = ((rows * 7 + columns * 3) % 11 - 5).astype(dtype)
        b = ((rows * 5 + columns * 2) % 13 - 6).astype(dtype)
        product = a @ b
        same = int(product.real.sum()) == expected["sum"] and int(product.real[3, 5]) == expected["3,5"]
        if not same:
            worst.append(dtype)
    return not worst, "exact for four types" if not worst else f"wrong for {', '.join(worst)}"


def check_solve(expected: Any) -> tuple[bool, str]:
    import numpy as np

    rows, columns = np.indices((6, 6))
    a = 1.0 / (rows + columns + 1) + np.eye(6)
    x = np.linalg.solve(a, np.arange(1.0, 7.0))
    error = float(np.max(np.abs(x - np.array(expected))))
    return error < 1e-12, f"largest error {error:.1e}"


def check_eigvalsh(expected: Any) -> tuple[bool, str]:
    import numpy as np

    rows, columns = np.indices((6, 6))
    values = np.linalg.eigvalsh(1.0 / (rows + columns + 1))
    error = float(np.max(np.abs(values - np.array(expected))))
    return error < 1e-12, f"largest error {error:.1e}"


def check_exp(expected: Any) -> tuple[bool, str]:
    import numpy as np

    x = np.linspace(-2, 2, 9)
    error = float(np.max(np.abs(np.exp(x) / np.array(expected) - 1)))
    return error < 4e-16, f"largest relative error {error:.1e}"


def check_sort(_: Any) -> tuple[bool, str]:
    import numpy as np

    values = (np.arange(10007, dtype=np.int64) * 7919) % 10007
    wrong = []
    for dtype in ("float32", "int16", "float64", "int64"):
        x = values.astype(dtype)
        for kind in ("quicksort", "stable"):
            if not (np.sort(x, kind=kind) == np.arange(10007)).all():
                wrong.append(f"{kind} of {dtype}")
            if not (x[np.argsort(x, kind=kind)] == np.arange(10007)).all():
                wrong.append(f"argsort, {kind} of {dtype}")
    # Ties keep their order, and NaN comes last.
    ties = np.where(values % 101 == 0, np.nan, values % 50)
    keys = [(x != x, 0.0 if x != x else x) for x in ties.tolist()]
    if np.argsort(ties, kind="stable").tolist() != sorted(range(10007), key=keys.__getitem__):
        wrong.append("ties and NaN")
    return not wrong, ", ".join(wrong) or "10,007 values of four types, ties and NaN"


def check_argmax(expected: Any) -> tuple[bool, str]:
    import numpy as np

    wrong = []
    for dtype in ("float32", "float64"):
        x = ((np.arange(67) * 13) % 67).astype(dtype)
        if [int(x.argmax()), int(x.argmin())] != expected:
            wrong.append(dtype)
        for at in range(67):
            with_nan = x.copy()
            with_nan[at:] = np.where(np.arange(67 - at) % 7 == 0, np.nan, x[at:])
            if with_nan.argmax() != at or with_nan.argmin() != at:
                wrong.append(f"{dtype}, NaN at {at}")
    return not wrong, ", ".join(wrong) or "two types, NaN at each place"


def check_rfft(expected: Any) -> tuple[bool, str]:
    import numpy as np

    worst = 0.0
    for length in (8, 60, 77, 210):
        x = [float(at * 37 % 41 - 20) for at in range(length)]
        turns = [cmath.exp(-2j * cmath.pi * at / length) for at in range(length)]
        exact = [
            sum(value * turns[at * k % length] for at, value in enumerate(x)) for k in range(length // 2 + 1)
        ]
        found = np.fft.rfft(x)
        worst = max(worst, float(np.max(np.abs(found - exact)) / np.linalg.norm(x)))
        worst = max(worst, float(np.max(np.abs(np.fft.irfft(found, length) - x))) / 20)
    return worst < expected, f"largest relative error {worst:.1e}"


if __name__ == "__main__":
    stored = json.loads(Path(__file__).with_suffix(".json").read_text())["expected"]
    report({name: partial(globals()[f"check_{name}"], expected) for name, expected in stored.items()})
