"""NumPy's workloads, on inputs of one seed. The kit imports NumPy first, and measures that too."""

from collections.abc import Callable
from typing import Any, Literal

from kit import Run, Workload, main


def _random(shape: tuple[int, ...], dtype: str) -> Any:
    import numpy as np

    return np.random.default_rng(7).standard_normal(shape).astype(dtype)


def _gemm(size: int, dtype: str) -> Callable[[], Run]:
    def prepare() -> Run:
        a, b = _random((size, size), dtype), _random((size, size), dtype)
        return lambda: a @ b

    return prepare


def _gemv() -> Run:
    a, x = _random((1024, 1024), "float64"), _random((1024,), "float64")
    return lambda: a @ x


def _solve() -> Run:
    import numpy as np

    a, b = _random((256, 256), "float64"), _random((256, 8), "float64")
    return lambda: np.linalg.solve(a, b)


def _eigvalsh() -> Run:
    import numpy as np

    a = _random((96, 96), "float64")
    a = a + a.T
    return lambda: np.linalg.eigvalsh(a)


def _ufunc(name: str, dtype: str) -> Callable[[], Run]:
    def prepare() -> Run:
        import numpy as np

        x = _random((1 << 16,), dtype)
        if name == "log":
            x = np.abs(x) + x.dtype.type(0.25)
        out = np.empty_like(x)
        function = getattr(np, name)
        return lambda: function(x, out=out)

    return prepare


def _power(dtype: str) -> Callable[[], Run]:
    def prepare() -> Run:
        import numpy as np

        x = np.abs(_random((1 << 16,), dtype)) + np.dtype(dtype).type(0.25)
        exponents = x[::-1].copy() - np.dtype(dtype).type(1)
        out = np.empty_like(x)
        return lambda: np.power(x, exponents, out=out)

    return prepare


def _multiply_add() -> Run:
    import numpy as np

    a, b, out = (_random((1 << 16,), "float32") for _ in range(3))

    def run() -> None:
        np.multiply(a, b, out=out)
        np.add(out, a, out=out)

    return run


def _reduction(dtype: str) -> Callable[[], Run]:
    def prepare() -> Run:
        x = _random((1 << 16,), dtype)
        return x.sum

    return prepare


def _sort(dtype: str, kind: Literal["quicksort", "stable"] = "quicksort") -> Callable[[], Run]:
    def prepare() -> Run:
        import numpy as np

        x = (_random((1 << 16,), "float64") * 1e6).astype(dtype)
        return lambda: np.sort(x, kind=kind)

    return prepare


def _argsort() -> Run:
    import numpy as np

    x = _random((1 << 14,), "float32")
    return lambda: np.argsort(x)


def _where() -> Run:
    import numpy as np

    a, b = _random((1 << 16,), "float32"), np.zeros(1 << 16, np.float32)
    condition = a > 0
    return lambda: np.where(condition, a, b)


def _remainder() -> Run:
    import numpy as np

    a = _random((1 << 14,), "float64")
    b = np.abs(a[::-1]) + 0.25
    return lambda: np.remainder(a, b)


def _integers(dtype: str, shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.random.default_rng(7).integers(-1000, 1000, shape).astype(dtype)


def _integer_multiply() -> Run:
    import numpy as np

    a = _integers("int32", (1 << 16,))
    return lambda: np.multiply(a, a)


def _integer_matmul() -> Run:
    a = _integers("int64", (64, 64))
    return lambda: a @ a


def _half_multiply() -> Run:
    a = _random((1 << 14,), "float16")
    return lambda: a * a


def _take() -> Run:
    import numpy as np

    x, indices = _random((1 << 16,), "float32"), np.random.default_rng(7).permutation(1 << 16)
    return lambda: np.take(x, indices)


def _argmax() -> Run:
    x = _random((1 << 16,), "float32")
    return x.argmax


def _cast(before: str, after: str) -> Callable[[], Run]:
    def prepare() -> Run:
        x = _integers(before, (1 << 16,))
        return lambda: x.astype(after)

    return prepare


def _fft() -> Run:
    import numpy as np

    x = _random((1 << 14,), "float64")
    return lambda: np.fft.rfft(x)


def _normal() -> Run:
    import numpy as np

    generator = np.random.default_rng(7)
    state = generator.bit_generator.state

    def run() -> None:
        generator.bit_generator.state = state
        generator.standard_normal(1 << 16)

    return run


def _small_arrays() -> Run:
    import numpy as np

    a, b = np.arange(3.0), np.ones(3)

    def run() -> None:
        for _ in range(1000):
            a + b

    return run


VECTOR = "65,536 values"
WORKLOADS = (
    Workload("gemm-float32", "matrix product, 384 x 384 x 384", _gemm(384, "float32")),
    Workload("gemm-float64", "matrix product, 256 x 256 x 256", _gemm(256, "float64")),
    Workload("gemv-float64", "matrix times vector, 1024 x 1024", _gemv),
    Workload("solve-float64", "linear system, 256 unknowns, 8 right-hand sides", _solve),
    Workload("eigvalsh-float64", "eigenvalues of a symmetric 96 x 96 matrix", _eigvalsh),
    *(
        Workload(f"{name}-{dtype}", f"{name}, {VECTOR}", _ufunc(name, dtype))
        for name in ("exp", "log", "sin", "cos", "tanh")
        for dtype in ("float32", "float64")
    ),
    Workload("pow-float32", f"power of arrays, {VECTOR}", _power("float32")),
    Workload("pow-float64", f"power of arrays, {VECTOR}", _power("float64")),
    Workload("multiply-add-float32", f"a * b + a, {VECTOR}", _multiply_add),
    Workload("sum-float32", f"sum, {VECTOR}", _reduction("float32")),
    Workload("sum-float64", f"sum, {VECTOR}", _reduction("float64")),
    Workload("sort-float32", "sort, 65,536 values", _sort("float32")),
    Workload("sort-int16", "sort, 65,536 values", _sort("int16")),
    Workload("stable-sort-float32", "stable sort, 65,536 values", _sort("float32", "stable")),
    Workload("argsort-float32", "argsort, 16,384 values", _argsort),
    Workload("where-float32", "where, 65,536 values", _where),
    Workload("remainder-float64", "remainder, 16,384 values", _remainder),
    Workload("multiply-int32", "product of arrays, 65,536 values", _integer_multiply),
    Workload("matmul-int64", "matrix product, 64 x 64 x 64", _integer_matmul),
    Workload("multiply-float16", "product of arrays, 16,384 values", _half_multiply),
    Workload("take-float32", "take, 65,536 values", _take),
    Workload("argmax-float32", f"argmax, {VECTOR}", _argmax),
    Workload("int32-to-float32", f"conversion, {VECTOR}", _cast("int32", "float32")),
    Workload("float16-to-float32", f"conversion, {VECTOR}", _cast("float16", "float32")),
    Workload("float32-to-float16", f"conversion, {VECTOR}", _cast("float32", "float16")),
    Workload("rfft-float64", "real Fourier transform, 16,384 values", _fft),
    Workload("normal-float64", "normally distributed random numbers, 65,536", _normal),
    Workload("small-arrays", "1,000 sums of arrays of 3: the cost of a call", _small_arrays),
)

if __name__ == "__main__":
    main("numpy", WORKLOADS)
