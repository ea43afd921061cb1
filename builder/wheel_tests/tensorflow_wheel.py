"""Runs inside the emulated environment: does this TensorFlow compute what NumPy computes, eagerly and as a graph?

Whole numbers must come out exact; float32 is held against NumPy's float64 within a tolerance. Nothing is random.
One JSON line a check, on standard output.
"""

import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from kit import Result, report

# TensorFlow 2.14 imports distutils, which Debian's Python leaves out and setuptools brings.
with suppress(ImportError):
    import setuptools  # noqa: F401 - it brings distutils


def spread(numpy: Any, shape: tuple[int, ...], span: int) -> Any:
    """Whole numbers around zero, the same at every call."""
    size = int(numpy.prod(shape))
    n = numpy.arange(size, dtype=numpy.int64)
    return ((3 * n * n + 7 * n) % 65521 % span - span // 2).reshape(shape)


def check_version() -> Result:
    tf = import_module("tensorflow")

    return tf.__version__.startswith("2."), f"{tf.__version__}, {tf.version.COMPILER_VERSION}"


def check_matmul() -> Result:
    np, tf = import_module("numpy"), import_module("tensorflow")

    a, b = spread(np, (67, 129), 31), spread(np, (129, 45), 17)
    wrong = [
        dtype.__name__
        for dtype in (np.float32, np.float64, np.int32)
        if not np.array_equal(
            tf.linalg.matmul(a.astype(dtype), b.astype(dtype)).numpy(), (a @ b).astype(dtype)
        )
    ]
    return not wrong, f"wrong: {wrong}" if wrong else "whole numbers, exact in three types"


def check_bfloat16() -> Result:
    np, tf = import_module("numpy"), import_module("tensorflow")

    a, b = spread(np, (32, 64), 7), spread(np, (64, 16), 5)
    found = tf.linalg.matmul(tf.cast(a, tf.bfloat16), tf.cast(b, tf.bfloat16))
    exact = (a @ b).astype(np.float64)
    apart = np.abs(tf.cast(found, tf.float64).numpy() - exact).max()
    return bool(apart <= np.abs(exact).max() / 128), f"{apart:.3g} apart at most"


def check_convolution() -> Result:
    np, tf = import_module("numpy"), import_module("tensorflow")

    image, kernel = spread(np, (2, 13, 11, 3), 9), spread(np, (3, 3, 3, 8), 5)
    found = tf.nn.conv2d(image.astype(np.float32), kernel.astype(np.float32), 1, "VALID").numpy()
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(1, 2))
    return bool(
        np.array_equal(found, np.einsum("nhwcij,ijco->nhwo", windows, kernel))
    ), "valid, whole numbers, exact"


def check_softmax() -> Result:
    np, tf = import_module("numpy"), import_module("tensorflow")

    x = spread(np, (17, 33), 41) / 4
    e = np.exp(x - x.max(axis=1, keepdims=True))
    apart = np.abs(tf.nn.softmax(x.astype(np.float32)).numpy() - e / e.sum(axis=1, keepdims=True)).max()
    return bool(apart < 1e-6), f"{apart:.2e} apart"


def check_graph_and_gradient() -> Result:
    np, tf = import_module("numpy"), import_module("tensorflow")

    def slope(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(x**3 + 2.0 * x)
        return tape.gradient(y, x)

    x = np.arange(-4, 5, dtype=np.float32)
    found = tf.function(slope)(tf.constant(x)).numpy()
    return bool(np.array_equal(found, 3 * x**2 + 2)), "of a polynomial, in a graph, exact"


def check_control_flow_and_strings() -> Result:
    tf = import_module("tensorflow")

    def steps(n: Any) -> Any:
        count = tf.constant(0)
        while n > 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            count += 1
        return count

    found = int(tf.function(steps)(tf.constant(27)))
    words = [word.decode() for word in tf.strings.split("one two three").numpy()]
    return found == 111 and words == ["one", "two", "three"], f"{found} steps, {words}"


def check_saved_model() -> Result:
    tf = import_module("tensorflow")

    model = tf.Module()
    model.factor = tf.Variable(3.0)
    model.scale = tf.function(lambda x: model.factor * x, input_signature=[tf.TensorSpec([None], tf.float32)])
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(model, str(Path(folder) / "model"))
        loaded = tf.saved_model.load(str(Path(folder) / "model"))
        found = loaded.scale(tf.constant([1.0, 2.0])).numpy().tolist()
    return found == [3.0, 6.0], f"{found} after loading"


if __name__ == "__main__":
    report(
        {
            name.removeprefix("check_"): function
            for name, function in list(globals().items())
            if name.startswith("check_")
        }
    )
