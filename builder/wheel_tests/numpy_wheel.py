"""Runs inside the emulated environment: does this NumPy give the stored results?

The inputs are exact in binary, so the sums are exact too; the other results were computed to 50 digits once
(the command stands in numpy_wheel.json). One JSON line a check, on standard output.
"""

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
    ok = bool((np.sort(values.astype("float32")) == np.arange(10007)).all())
    ok = ok and bool((np.sort(values.astype("int16")) == np.arange(10007)).all())
    return ok, "10,007 values of two types"


if __name__ == "__main__":
    stored = json.loads(Path(__file__).with_suffix(".json").read_text())["expected"]
    report({name: partial(globals()[f"check_{name}"], expected) for name, expected in stored.items()})
