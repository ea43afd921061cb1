"""Computes what builder/wheel_tests/numpy_wheel.json stores, to 50 digits: python scripts/stored_results.py

Needs mpmath, which is not among the project's own requirements; the file is written once.
"""

import json
from pathlib import Path

import mpmath as mp

mp.mp.dps = 50
PLACE = Path(__file__).parents[1] / "builder/wheel_tests/numpy_wheel.json"


def main() -> None:
    a = [[(i * 7 + j * 3) % 11 - 5 for j in range(128)] for i in range(128)]
    b = [[(i * 5 + j * 2) % 13 - 6 for j in range(128)] for i in range(128)]
    columns = list(zip(*b, strict=True))
    product = [[sum(x * y for x, y in zip(row, column, strict=True)) for column in columns] for row in a]
    hilbert = mp.matrix(6, 6)
    for i in range(6):
        for j in range(6):
            hilbert[i, j] = mp.mpf(1) / (i + j + 1)
    solved = mp.lu_solve(hilbert + mp.eye(6), mp.matrix([1, 2, 3, 4, 5, 6]))
    values, _ = mp.eigsy(hilbert)
    expected = {
        "import": "2.4.6",
        "show_config": "scipy-openblas",
        "matmul": {"sum": sum(map(sum, product)), "3,5": product[3][5]},
        "solve": [float(x) for x in solved],
        "eigvalsh": sorted(float(x) for x in values),
        "exp": [float(mp.e ** (mp.mpf(k) / 2 - 2)) for k in range(9)],
        "sort": None,
    }
    text = json.dumps({"made_by": "python scripts/stored_results.py", "expected": expected}, indent=1)
    PLACE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
