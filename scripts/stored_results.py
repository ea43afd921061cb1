"""Compute the expected results in builder/wheel_tests/*_wheel.json: python scripts/stored_results.py

Integers are exact. Other results are computed to 50 digits, or in float64 for the two small networks. No result is
computed by the package that it tests. The script needs mpmath, which is not a requirement of the project, since the
files are written only once.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np

mp.mp.dps = 50
PLACE = Path(__file__).parents[1] / "builder/wheel_tests"
MADE_BY = "python scripts/stored_results.py"

Array = np.ndarray[Any, np.dtype[Any]]


def hilbert(rows: int, columns: int) -> mp.matrix:
    made = mp.matrix(rows, columns)
    for i in range(rows):
        for j in range(columns):
            made[i, j] = mp.mpf(1) / (i + j + 1)
    return made


def solved() -> list[float]:
    return [float(x) for x in mp.lu_solve(hilbert(6, 6) + mp.eye(6), mp.matrix([1, 2, 3, 4, 5, 6]))]


def eigenvalues() -> list[float]:
    values, _ = mp.eigsy(hilbert(6, 6))
    return sorted(float(x) for x in values)


def numpy_results() -> dict[str, Any]:
    """Compute NumPy's expected results with pure Python and mpmath."""
    a = [[(i * 7 + j * 3) % 11 - 5 for j in range(128)] for i in range(128)]
    b = [[(i * 5 + j * 2) % 13 - 6 for j in range(128)] for i in range(128)]
    columns = list(zip(*b, strict=True))
    product = [[sum(x * y for x, y in zip(row, column, strict=True)) for column in columns] for row in a]
    return {
        "import": "2.4.6",
        "show_config": "scipy-openblas",
        "matmul": {"sum": sum(map(sum, product)), "3,5": product[3][5]},
        "solve": solved(),
        "eigvalsh": eigenvalues(),
        "exp": [float(mp.e ** (mp.mpf(k) / 2 - 2)) for k in range(9)],
        "sort": None,
        "argmax": [max(range(67), key=lambda k: k * 13 % 67), 0],
        "rfft": 1e-14,
    }


def spread(shape: Sequence[int], seed: int, span: int) -> Array:
    """Return integers around zero, by the same formula as in torch_wheel.py."""
    n = np.arange(int(np.prod(shape)), dtype=np.int64)
    return ((3 * n * n + seed * n) % 65521 % span - span // 2).reshape(shape)


def digest(values: Array) -> list[int]:
    flat = [int(value) for value in values.flat]
    return [sum(flat), sum(v * (n % 97 + 1) for n, v in enumerate(flat)), flat[len(flat) // 3]]


def exactly(values: Array, divisor: int) -> mp.matrix:
    return mp.matrix(values.tolist()) / divisor


def rows_of(matrix: mp.matrix) -> list[list[float]]:
    return [[float(matrix[i, j]) for j in range(matrix.cols)] for i in range(matrix.rows)]


def rounded(values: Array) -> Any:
    """Round to ten digits, which do not depend on the order of summation."""
    return np.vectorize(lambda value: float(f"{value:.10g}"))(values).tolist()


def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Array:
    """Compute a convolution by its definition. Integers stay integers."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    height, width = (
        (x.shape[2 + d] - dilation[d] * (weight.shape[2 + d] - 1) - 1) // stride[d] + 1 for d in (0, 1)
    )
    y = np.zeros((len(x), len(weight), height, width), dtype=x.dtype)
    into, outof = weight.shape[1], len(weight) // groups
    for o in range(len(weight)):
        group = x[:, o // outof * into : (o // outof + 1) * into]
        for u in range(weight.shape[2]):
            for v in range(weight.shape[3]):
                top, left = u * dilation[0], v * dilation[1]
                seen = group[:, :, top : top + stride[0] * height : stride[0]]
                seen = seen[:, :, :, left : left + stride[1] * width : stride[1]][:, :, :height, :width]
                y[:, o] += (seen * weight[o, :, u, v][None, :, None, None]).sum(1)
    return y if bias is None else y + bias[None, :, None, None]


def conv2d_cases() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = [
        {"name": "strided", "x": [2, 5, 17, 15], "weight": [7, 5, 3, 3], "stride": [2, 1], "padding": [1, 2]},
        {"name": "pointwise", "x": [2, 16, 12, 12], "weight": [24, 16, 1, 1]},
        {"name": "depthwise", "x": [2, 8, 14, 13], "weight": [8, 1, 3, 3], "padding": [1, 1], "groups": 8},
        {
            "name": "dilated groups",
            "x": [1, 8, 19, 19],
            "weight": [12, 4, 3, 3],
            "dilation": [2, 2],
            "groups": 2,
        },
    ]
    for case in cases:
        for option, default in (("stride", [1, 1]), ("padding", [0, 0]), ("dilation", [1, 1]), ("groups", 1)):
            case.setdefault(option, default)
        x, weight = spread(case["x"], 711, 9), spread(case["weight"], 922, 7)
        bias = spread(case["weight"][:1], 133, 11)
        options = (case["stride"], case["padding"], case["dilation"], case["groups"])
        case["digest"] = digest(conv(x, weight, bias, *options))
    return cases


def conv2d_gradients() -> list[list[int]]:
    """Compute the gradients of sum(conv2d(x, weight) * g), with stride 2 and padding 1, product by product."""
    x, weight = (
        np.pad(spread((2, 3, 9, 8), 711, 9), ((0, 0), (0, 0), (1, 1), (1, 1))),
        spread((4, 3, 3, 3), 922, 7),
    )
    by_x, by_weight = np.zeros_like(x), np.zeros_like(weight)
    g = spread((2, 4, 5, 4), 55, 5)
    for n, o, i, j in np.ndindex(g.shape):
        window = (n, slice(None), slice(2 * i, 2 * i + 3), slice(2 * j, 2 * j + 3))
        by_x[window] += g[n, o, i, j] * weight[o]
        by_weight[o] += g[n, o, i, j] * x[window]
    return [digest(by_x[:, :, 1:-1, 1:-1]), digest(by_weight)]


def matmul() -> dict[str, Any]:
    cases = {}
    for name, a_span, b_span in (("wide", 11, 13), ("narrow", 3, 5)):
        a, b = spread((97, 128), 1234, a_span).tolist(), spread((128, 61), 4321, b_span).tolist()
        columns = list(zip(*b, strict=True))
        product = [[sum(x * y for x, y in zip(row, column, strict=True)) for column in columns] for row in a]
        cases[name] = digest(np.array(product))
    return cases


def attention() -> dict[str, Any]:
    q, k, v = (spread((2, 40, 16), seed, 33) for seed in (501, 602, 703))
    rows = [0, 1, 17, 39]

    def attend(head: int, row: int, last: int) -> list[float]:
        # Every factor is a sixteenth, and the square root of 16 channels is 4.
        scores = [mp.mpf(int(q[head, row] @ k[head, j])) / (256 * 4) for j in range(last + 1)]
        powers = [mp.exp(score) for score in scores]
        mixed = [mp.fdot(powers, [int(x) for x in v[head, : last + 1, c]]) for c in range(16)]
        return [float(value / mp.fsum(powers) / 16) for value in mixed]

    full = [[attend(head, row, 39) for row in rows] for head in (0, 1)]
    causal = [[attend(head, row, row) for row in rows] for head in (0, 1)]
    return {"rows": rows, "full": full, "causal": causal}


def quantised_linear() -> dict[str, Any]:
    x, weight, bias = spread((5, 67), 811, 201), spread((19, 67), 812, 255), spread((19,), 813, 4001)
    products = x @ weight.T + bias
    # Input scale 1/8 and weight scale 1/16 against output scale 4: one quantum is 512 of the products.
    static = [[min(255, max(0, round(mp.mpf(int(p)) / 512) + 128)) for p in row] for row in products]
    dynamic = x @ weight.T / (8 * 128) + bias / 128
    return {"static": static, "dynamic": dynamic.tolist()}


def autograd() -> dict[str, Any]:
    """Compute the gradients of mean((tanh(x w1 + b1) w2 + b2 - t)^2) by the chain rule."""
    x, t = exactly(spread((6, 4), 31, 17), 8), exactly(spread((6, 3), 32, 17), 8)
    shapes = ((4, 5), (1, 5), (5, 3), (1, 3))
    w1, b1, w2, b2 = (exactly(spread(shape, 33 + i, 17), 16) for i, shape in enumerate(shapes))
    ones = mp.ones(6, 1)
    hidden = (x * w1 + ones * b1).apply(mp.tanh)
    by_output = (hidden * w2 + ones * b2 - t) * 2 / 18
    by_hidden = by_output * w2.T
    for i in range(6):
        for j in range(5):
            by_hidden[i, j] *= 1 - hidden[i, j] ** 2
    return {
        "w1": rows_of(x.T * by_hidden),
        "b1": rows_of(ones.T * by_hidden)[0],
        "w2": rows_of(hidden.T * by_output),
        "b2": rows_of(ones.T * by_output)[0],
        "conv2d": conv2d_gradients(),
    }


def fft() -> dict[str, Any]:
    results = {}
    for length in (60, 37):
        x = spread((length,), 77, 17).tolist()
        turns = [mp.expjpi(mp.mpf(-2 * k) / length) for k in range(length)]
        found = [mp.fsum(v * turns[n * k % length] for n, v in enumerate(x)) for k in range(length // 2 + 1)]
        results[str(length)] = [[float(z.real), float(z.imag)] for z in found]
    return results


def classifier() -> Any:
    x = spread((2, 3, 32, 32), 1708, 255) / 64
    for i, (before, after) in enumerate(((3, 8), (8, 16), (16, 32))):
        x = conv(x, spread((after, before, 3, 3), 1001 + i, 31) / 64, padding=(1, 1))
        scale, shift = 1 + spread((after,), 1101 + i, 15) / 16, spread((after,), 1201 + i, 15) / 16
        mean, variance = spread((after,), 1301 + i, 15) / 32, 1 + spread((after,), 1401 + i, 15) / 16
        scale = scale / np.sqrt(variance + 1e-5)
        x = np.maximum((x - mean[:, None, None]) * scale[:, None, None] + shift[:, None, None], 0)
        x = x.reshape(2, after, x.shape[2] // 2, 2, x.shape[3] // 2, 2).max((3, 5))
    logits = x.reshape(2, -1) @ (spread((10, 512), 1504, 31) / 128).T + spread((10,), 1601, 15) / 16
    best = np.sort(logits, axis=1)
    if (best[:, -1] - best[:, -2]).min() < 0.1 * np.abs(logits).max():
        raise SystemExit("classifier: the best two classes are too close to tell apart in bfloat16")
    return rounded(logits)


def overlap_of(a: Array, b: Array) -> float:
    """Return the intersection over union of two boxes, which are given by their corners."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    shared = float(sides[0] * sides[1])
    return shared / (float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2])) - shared)


def detector() -> dict[str, Any]:
    def layer(x: Array, channels: int, seed: int, stride: int, divisor: int) -> Array:
        weight = spread((channels, x.shape[1], 3, 3), seed, 31) / divisor
        return conv(x, weight, spread((channels,), seed + 50, 15) / 16, (stride, stride), (1, 1))

    x = np.maximum(layer(spread((1, 3, 48, 48), 2001, 255) / 64, 8, 2101, 2, 64), 0)
    fine = np.maximum(layer(x, 16, 2102, 2, 64), 0)
    coarse = np.maximum(layer(fine, 16, 2103, 2, 64), 0)
    boxes, scores = [], []
    for level, features in enumerate((fine, coarse)):
        cells = features.shape[-1]
        step = 48 // cells
        shifts, raw = layer(features, 8, 2201 + level, 1, 64)[0], layer(features, 2, 2301 + level, 1, 32)[0]
        for row, column, shape in np.ndindex(cells, cells, 2):
            size = np.array([(2.5, 2.5), (3.5, 1.75)][shape]) * step
            shift = shifts[4 * shape : 4 * shape + 4, row, column]
            centre = (np.array([column, row]) + 0.5) * step + shift[:2] * size / 8
            half = size * np.exp(shift[2:] / 4) / 2
            boxes.append(np.concatenate([centre - half, centre + half]))
            scores.append(float(1 / (1 + np.exp(-raw[shape, row, column]))))
    threshold, limit = 0.78, 0.3
    order = sorted((i for i, s in enumerate(scores) if s > threshold), key=lambda i: -scores[i])
    kept: list[int] = []
    margins = [abs(score - threshold) for score in scores]
    for place, i in enumerate(order):
        overlaps = [overlap_of(boxes[i], boxes[j]) for j in order[:place]]
        margins += [abs(overlap - limit) for overlap in overlaps]
        margins += [
            scores[j] - scores[i] for j, o in zip(order, overlaps, strict=False) if o > limit or j in kept
        ]
        if all(overlap_of(boxes[i], boxes[j]) <= limit for j in kept):
            kept.append(i)
    if min(margins) < 1e-4:
        raise SystemExit(f"detector: a decision hangs on {min(margins):.1e}, too little for float32")
    print(f"detector: {len(kept)} of {len(order)} candidates kept; nearest decision {min(margins):.1e}")
    return {
        "threshold": threshold,
        "overlap": limit,
        "candidates": len(order),
        "kept": kept,
        "boxes": rounded(np.array([boxes[i] for i in kept])),
        "scores": rounded(np.array([scores[i] for i in kept])),
    }


def torch_results() -> dict[str, Any]:
    _, singular, _ = mp.svd_r(hilbert(7, 5))
    ranks = [spread((33,), 61 + rank, 17) for rank in (0, 1)]
    return {
        "import": None,
        "sve_dispatch": None,
        "parallel": sum(n % 1009 for n in range(200_003)),
        "matmul": matmul(),
        "dot": dots(),
        "conv2d": conv2d_cases(),
        "attention": attention(),
        "quantised_linear": quantised_linear(),
        "autograd": autograd(),
        "linalg": {
            "solve": solved(),
            "eigvalsh": eigenvalues(),
            "svdvals": sorted((float(x) for x in singular), reverse=True),
        },
        "fft": fft(),
        "script": scripted(),
        "save": None,
        "classifier": classifier(),
        "detector": detector(),
        "distributed": {"one": digest(ranks[0]), "two": digest(ranks[0] + ranks[1])},
        "rendezvous": None,
        "rpc": None,
        "profiler": None,
        "kernels": {"versions": ["2.6.0"]},
    }


def dots() -> dict[str, list[float]]:
    """Products of whole numbers, which are exact in every type."""
    a, b = (spread((257,), seed, 17) + 1j * spread((257,), seed + 1, 17) for seed in (81, 83))
    return {
        "real": [float(a.real @ b.real)],
        "plain": [float((a @ b).real), float((a @ b).imag)],
        "conjugated": [float(np.vdot(a, b).real), float(np.vdot(a, b).imag)],
    }


def scripted() -> int:
    x, y = spread((33,), 71, 17), spread((7, 33), 73, 17)
    for _ in range(3):
        x = x * 2 + y
    return int(x.sum() + y.sum())


def write(name: str, results: dict[str, Any], dump: Callable[[Any], str]) -> None:
    text = dump({"made_by": MADE_BY, "expected": results})
    (PLACE / name).write_text(text + "\n", encoding="utf-8")


def a_line_each(made: dict[str, Any]) -> str:
    lines = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(made['expected'][name])}" for name in made["expected"]
    )
    return f'{{\n "made_by": {json.dumps(made["made_by"])},\n "expected": {{\n{lines}\n }}\n}}'


def main() -> None:
    write("numpy_wheel.json", numpy_results(), lambda made: json.dumps(made, indent=1))
    write("torch_wheel.json", torch_results(), a_line_each)


if __name__ == "__main__":
    main()
