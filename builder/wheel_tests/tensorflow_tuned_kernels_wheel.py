"""Runs inside the emulated environment: do TensorFlow's kernels as compiled here compute what the stock ones do?

Every case runs before loading, by the stock kernels, and after it, traced anew, when ours must be counted. Both are
held against TensorFlow's own kernels in float64, which nothing takes over. One JSON line a check.
"""

import ctypes
import os
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from kit import Result, report

# Apart from float64, as a part of the largest value; float16 is added up in float16, by the stock kernels too.
TOLERANCE = {"float32": 3e-6, "float16": 1e-2}
PR_SVE_SET_VL = 50

MATMULS = (
    (1, 1, 1, ""),
    (1, 64, 129, ""),
    (17, 31, 9, "a"),
    (8, 140, 24, "b"),
    (37, 71, 13, "ab"),
    (65, 129, 33, ""),
    (96, 140, 100, "b"),
)
BATCHES = (
    ((3, 5, 7), (3, 7, 4), False),
    ((2, 1, 5, 33), (3, 33, 8), False),
    ((4, 9, 6), (4, 9, 11), True),
    ((16, 12, 40), (16, 40, 20), False),
)
# Input, filter, stride, padding, dilation: odd sizes, each path of the kernel (1x1, the whole image, grouped).
CONVOLUTIONS: tuple[tuple[tuple[int, ...], tuple[int, ...], int, Any, int], ...] = (
    ((1, 9, 7, 3), (3, 3, 3, 5), 1, "SAME", 1),
    ((2, 11, 10, 8), (3, 2, 8, 16), 2, "VALID", 1),
    ((1, 12, 13, 4), (3, 3, 4, 9), 1, "SAME", 2),
    ((2, 7, 8, 5), (3, 3, 5, 6), 1, ((0, 0), (2, 1), (0, 3), (0, 0)), 1),
    ((2, 6, 5, 20), (1, 1, 20, 17), 1, "SAME", 1),
    ((3, 4, 5, 6), (4, 5, 6, 7), 1, "VALID", 1),
    ((1, 8, 8, 4), (3, 3, 2, 8), 1, "SAME", 1),
    ((2, 16, 16, 16), (3, 3, 16, 24), 1, "SAME", 1),
)
SOFTMAXES = ((1, 1), (3, 5), (7, 33), (2, 4, 129), (64, 10))


class Case(NamedTuple):
    """One call: the operation that must be counted, and what to run on which inputs."""

    op: str
    about: str
    run: Callable[..., Any]
    inputs: tuple[Any, ...]

    def after_loading(self, tf: Any) -> Any:
        return tf.function(self.run)(*self.inputs)


def cases_of(tf: Any, dtype: str) -> list[Case]:
    def random(shape: tuple[int, ...]) -> Any:
        return tf.cast(tf.random.normal(shape), dtype)

    found = []
    for m, k, n, transposed in MATMULS:
        a, b = "a" in transposed, "b" in transposed

        def product(x: Any, y: Any, a: bool = a, b: bool = b) -> Any:
            return tf.matmul(x, y, transpose_a=a, transpose_b=b)

        shapes = (k, m) if a else (m, k), (n, k) if b else (k, n)
        found.append(Case("MatMul", f"{m}x{k}x{n}{transposed}", product, tuple(map(random, shapes))))
    for left, right, adjoint in BATCHES:

        def batch(x: Any, y: Any, adjoint: bool = adjoint) -> Any:
            return tf.matmul(x, y, adjoint_a=adjoint)

        found.append(Case("BatchMatMulV2", f"{left} {right}", batch, (random(left), random(right))))
    for image, window, stride, padding, dilation in CONVOLUTIONS:

        def convolution(x: Any, w: Any, s: int = stride, p: Any = padding, d: int = dilation) -> Any:
            return tf.nn.conv2d(x, w, strides=s, padding=p, dilations=d)

        about = f"{image} {window} {stride} {padding} {dilation}"
        found.append(Case("Conv2D", about, convolution, (random(image), random(window))))
    for shape in SOFTMAXES:
        found.append(Case("Softmax", f"{shape}", tf.nn.softmax, (random(shape) * 8,)))
        found.append(Case("LogSoftmax", f"{shape}", tf.nn.log_softmax, (random(shape) * 8,)))
    if dtype == "float32":
        found += fused_cases(tf, random)
    return found


def fused_cases(tf: Any, random: Callable[[tuple[int, ...]], Any]) -> list[Case]:
    """What TensorFlow's graph optimizer makes of a product or a convolution with bias and activation."""
    activations = (("identity", tf.identity), ("relu", tf.nn.relu), ("elu", tf.nn.elu))
    found = []
    for name, activation in activations:

        def dense(x: Any, w: Any, b: Any, activation: Any = activation) -> Any:
            return activation(tf.nn.bias_add(tf.matmul(x, w), b))

        def convolution(x: Any, w: Any, b: Any, activation: Any = activation) -> Any:
            return activation(tf.nn.bias_add(tf.nn.conv2d(x, w, 1, "SAME"), b))

        inputs = random((19, 67)), random((67, 35)), random((35,))
        found.append(Case("_FusedMatMul", name, dense, inputs))
        inputs = random((2, 9, 11, 6)), random((3, 3, 6, 13)), random((13,))
        found.append(Case("_FusedConv2D", name, convolution, inputs))
    return found


def apart(tf: Any, found: Any, expected: Any) -> float:
    """How far at most, as a part of the largest value expected."""
    found, expected = (tf.cast(one, tf.float64) for one in (found, expected))
    largest = float(tf.reduce_max(tf.abs(expected)))
    return float(tf.reduce_max(tf.abs(found - expected))) / (largest or 1.0)


class Checks:
    """The checks, with what the stock kernels said before ours were loaded."""

    def __init__(self, tf: Any, pack: Any) -> None:
        self.tf, self.pack = tf, pack
        self.cases = {dtype: cases_of(tf, dtype) for dtype in TOLERANCE}
        self.stock = {
            dtype: [case.run(*case.inputs) for case in cases] for dtype, cases in self.cases.items()
        }
        infinite = float("inf")
        rows = ((0.0, float("nan"), 1.0), (infinite, 0.0, 1.0), (-infinite, 0.0, 1.0), (-infinite,) * 3)
        self.special = tf.constant(rows * 3)
        self.special_stock = tf.nn.softmax(self.special).numpy()
        self.model = tf.keras.Sequential(
            [
                tf.keras.layers.Conv2D(12, 3, activation="relu", bias_initializer="random_normal"),
                tf.keras.layers.Conv2D(20, 3, strides=2, activation="relu"),
                tf.keras.layers.Flatten(),
                tf.keras.layers.Dense(40, activation="relu"),
                tf.keras.layers.Dense(10, activation="softmax"),
            ]
        )
        self.images = tf.random.normal((5, 14, 15, 3))
        self.predicted = tf.function(self.model)(self.images)
        self.stock_calls = sum(map(pack.calls, ("MatMul", "Conv2D", "Softmax")))

    def check_other_vectors(self) -> Result:
        """With vectors of another length the library that is made for one stays off, and says so."""
        bits, libc = self.pack.vector_bits(), ctypes.CDLL(None)
        mark = f"_sve{bits}" if bits > 128 else ""
        kinds = ("convolutions", "products")
        any_length = tuple(f"_float16_{kind}" for kind in kinds)
        every = (*any_length, *(f"_float32_{kind}{mark}" for kind in kinds))
        if not mark:
            loaded = self.pack.load()
            return loaded == every, f"SVE vectors of {bits} bits; loaded {', '.join(loaded)}"
        libc.prctl(PR_SVE_SET_VL, 16, 0, 0, 0)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            short = self.pack.load()
        libc.prctl(PR_SVE_SET_VL, bits // 8, 0, 0, 0)
        loaded = self.pack.load()
        wanted = f"for SVE vectors of {bits} bits, this machine has 128"
        warned = sum(wanted in str(one.message) for one in said)
        good = short == any_length and warned == len(kinds) and loaded == every
        return good, f"at 128 bits {', '.join(short)}, {warned} warnings; at {bits} bits {', '.join(loaded)}"

    def check_taken_over(self) -> Result:
        found = self.pack.taken_over()
        both = {"MatMul", "BatchMatMul", "BatchMatMulV2", "Conv2D", "Softmax", "LogSoftmax"}
        expected: dict[str, tuple[str, ...]] = dict.fromkeys(both, ("float16", "float32"))
        expected |= dict.fromkeys(("_FusedMatMul", "_FusedConv2D"), ("float32",))
        told = "; ".join(f"{op} {', '.join(types)}" for op, types in found.items())
        return found == expected and self.stock_calls == 0, told

    def _calls(self, op: str) -> int:
        """How often ours ran for an operation, fused with others or not: the graph's optimizer decides that."""
        return sum(map(self.pack.calls, {op, op.removeprefix("_Fused")}))

    def _agree(self, dtype: str) -> Result:
        faults, ours, stock = [], 0.0, 0.0
        for case, before in zip(self.cases[dtype], self.stock[dtype], strict=True):
            exact = case.run(*(self.tf.cast(one, self.tf.float64) for one in case.inputs))
            calls = self._calls(case.op)
            after = case.after_loading(self.tf)
            if self._calls(case.op) != calls + 1:
                faults.append(f"{case.op} {case.about}: ours did not run")
            distance = apart(self.tf, after, exact)
            if not distance <= TOLERANCE[dtype]:
                faults.append(f"{case.op} {case.about}: {distance:.1e}")
            ours, stock = max(ours, distance), max(stock, apart(self.tf, before, exact))
        detail = "; ".join(faults) or (
            f"{len(self.cases[dtype])} cases, each counted once; apart from float64 by {ours:.1e} of the largest "
            f"value at most, stock by {stock:.1e}"
        )
        return not faults, detail

    def check_float32(self) -> Result:
        return self._agree("float32")

    def check_float16(self) -> Result:
        return self._agree("float16")

    def check_whole_numbers(self) -> Result:
        """Sums of whole numbers have no rounding, whatever the order."""
        tf, wrong = self.tf, []
        for dtype, depth in (("float32", 515), ("float16", 40)):
            x, y = (
                tf.cast(tf.random.uniform(shape, -6, 7, tf.int32), dtype)
                for shape in ((45, depth), (depth, 51))
            )
            exact = tf.cast(tf.matmul(tf.cast(x, tf.float64), tf.cast(y, tf.float64)), dtype)
            if not bool(tf.reduce_all(tf.function(tf.matmul)(x, y) == exact)):
                wrong.append(dtype)
        return not wrong, f"wrong in {', '.join(wrong)}" if wrong else "exact in float32 and float16"

    def check_special_values(self) -> Result:
        found = self.tf.function(self.tf.nn.softmax)(self.special).numpy()
        same = all(
            abs(a - b) < 1e-6 or (a != a and b != b)
            for row, stock in zip(found, self.special_stock, strict=True)
            for a, b in zip(row, stock, strict=True)
        )
        return same, "softmax of NaN and of both infinities is NaN and 0 where stock's is"

    def check_empty(self) -> Result:
        tf = self.tf
        matmul, softmax = tf.function(tf.matmul), tf.function(tf.nn.softmax)
        conv = tf.function(lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"))
        good = True
        for dtype in TOLERANCE:
            nothing = matmul(tf.ones((3, 0), dtype), tf.ones((0, 4), dtype))
            good &= nothing.shape == (3, 4) and not bool(tf.reduce_any(nothing != 0))
            good &= matmul(tf.ones((0, 5), dtype), tf.ones((5, 3), dtype)).shape == (0, 3)
            good &= matmul(tf.ones((0, 2, 5), dtype), tf.ones((0, 5, 3), dtype)).shape == (0, 2, 3)
            good &= conv(tf.ones((0, 5, 5, 2), dtype), tf.ones((3, 3, 2, 4), dtype)).shape == (0, 5, 5, 4)
            good &= softmax(tf.ones((0, 7), dtype)).shape == (0, 7)
        return good, "products, convolution and softmax of nothing, in both types"

    def check_faults(self) -> Result:
        """What does not fit is refused as ever."""
        tf, refused = self.tf, 0
        product = tf.function(lambda x, y: tf.raw_ops.MatMul(a=x, b=y))
        unknown = product.get_concrete_function(*2 * (tf.TensorSpec(None, tf.float32),))
        conv = tf.function(lambda x, w: tf.raw_ops.Conv2D(input=x, filter=w, strides=[1] * 4, padding="SAME"))
        unknown_conv = conv.get_concrete_function(*2 * (tf.TensorSpec(None, tf.float32),))
        calls: tuple[Callable[[], object], ...] = (
            lambda: unknown(tf.ones((3, 4)), tf.ones((5, 6))),
            lambda: unknown_conv(tf.ones((1, 5, 5, 3)), tf.ones((3, 3, 2, 4))),
        )
        for call in calls:
            try:
                call()
            except tf.errors.InvalidArgumentError:
                refused += 1
        return refused == len(calls), f"{refused} of {len(calls)} faulty calls refused"

    def check_eager(self) -> Result:
        """An operation that runs for the first time after loading runs ours eagerly too."""
        tf, ops = self.tf, ("BatchMatMulV2", "MatMul")
        before = [self.pack.calls(op) for op in ops]
        x, y = tf.random.normal((3, 4)), tf.random.normal((4, 5))
        tf.raw_ops.BatchMatMulV2(x=x[None], y=x[None], adj_y=True)
        # The cases ran such a product eagerly before loading, and TensorFlow keeps the kernel it found.
        tf.raw_ops.MatMul(a=x, b=y)
        ran = [self.pack.calls(op) - count for op, count in zip(ops, before, strict=True)]
        return ran == [
            1,
            0,
        ], f"calls of ours: {ran[0]} of one that was new, {ran[1]} of one that had run before"

    def check_gradients(self) -> Result:
        tf = self.tf

        def gradients(x: Any, w: Any, v: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch((x, w, v))
                y = tf.nn.relu(tf.nn.conv2d(x, w, 1, "SAME"))
                loss = tf.reduce_sum(tf.nn.softmax(tf.matmul(tf.reshape(y, (2, -1)), v)) ** 2)
            return tape.gradient(loss, (x, w, v))

        inputs = [tf.random.normal(shape) for shape in ((2, 6, 7, 4), (3, 3, 4, 8), (336, 9))]
        before = self.pack.calls("MatMul")
        found = tf.function(gradients)(*inputs)
        ours = self.pack.calls("MatMul") - before
        exact = gradients(*(tf.cast(one, tf.float64) for one in inputs))
        worst = max(apart(tf, one, other) for one, other in zip(found, exact, strict=True))
        return (
            worst < 1e-4 and ours == 3,
            f"apart by {worst:.1e}; {ours} products of forward and backward are ours",
        )

    def check_model(self) -> Result:
        """A small convolutional network predicts the same: its layers run as fused operations."""
        ops = ("_FusedConv2D", "_FusedMatMul", "Softmax")
        before = [self._calls(op) for op in ops]
        fused = sum(map(self.pack.calls, ops[:2]))
        found = self.tf.function(self.model)(self.images)
        ran = [self._calls(op) - count for op, count in zip(ops, before, strict=True)]
        fused = sum(map(self.pack.calls, ops[:2])) - fused
        distance = apart(self.tf, found, self.predicted)
        told = f"{ran[0]} convolutions, {ran[1]} products, {ran[2]} softmax of ours, {fused} of them fused"
        return distance < 1e-5 and ran == [2, 2, 1], f"predictions apart by {distance:.1e}; {told}"


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow 2.14 imports distutils, which Debian's Python leaves out and setuptools brings.
    import setuptools  # noqa: F401 - it brings distutils
    import tensorflow as tf
    import tensorflow_tuned_kernels as pack

    tf.random.set_seed(20)
    all_of_them = Checks(tf, pack)
    checks: tuple[Callable[[], Result], ...] = (
        all_of_them.check_other_vectors,
        all_of_them.check_taken_over,
        all_of_them.check_float32,
        all_of_them.check_float16,
        all_of_them.check_whole_numbers,
        all_of_them.check_special_values,
        all_of_them.check_empty,
        all_of_them.check_faults,
        all_of_them.check_eager,
        all_of_them.check_gradients,
        all_of_them.check_model,
    )
    report({check.__name__.removeprefix("check_"): check for check in checks})


if __name__ == "__main__":
    main()
