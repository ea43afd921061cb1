"""TensorFlow's stock kernels and ours, in one process: the stock ones are traced first, then ours take over."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kit import Run, Unavailable, Workload, main

# TensorFlow 2.14 imports distutils, which Debian's Python leaves out and setuptools brings; to list needs neither.
with suppress(ImportError):
    import setuptools  # noqa: F401 - it brings distutils

Operation = Callable[[Any], Callable[..., object]]
Shapes = tuple[tuple[int, ...], ...]


def _matmul(tf: Any) -> Callable[..., object]:
    return lambda x, y: tf.matmul(x, y)


def _conv(tf: Any) -> Callable[..., object]:
    return lambda x, w: tf.nn.conv2d(x, w, 1, "SAME")


def _softmax(tf: Any) -> Callable[..., object]:
    return lambda x: tf.nn.softmax(x)


TYPES = ("float32", "float16")
# Stock float16 takes a hundred instructions a multiplication: under emulation the large product is not for it.
OPERATIONS: tuple[tuple[str, str, Operation, Shapes, tuple[str, ...]], ...] = (
    ("large", "512x512 by 512x512", _matmul, ((512, 512), (512, 512)), ("float32",)),
    ("matmul", "128x256 by 256x128", _matmul, ((128, 256), (256, 128)), TYPES),
    ("row", "1x512 by 512x512", _matmul, ((1, 512), (512, 512)), TYPES),
    ("batch", "16 products of 32x64 by 64x32", _matmul, ((16, 32, 64), (16, 64, 32)), TYPES),
    ("conv", "14x14x32 by 32 windows of 3x3", _conv, ((1, 14, 14, 32), (3, 3, 32, 32)), TYPES),
    ("softmax", "64 rows of 1000", _softmax, ((64, 1000),), TYPES),
)


def _workload(operation: Operation, shapes: Shapes, dtype: str, ours: bool) -> Callable[[], Run]:
    def prepare() -> Run:
        import tensorflow as tf
        import tensorflow_tuned_kernels as pack

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        if ours:
            pack.load()
        elif pack.taken_over():
            raise Unavailable("the stock kernels were taken over before")
        tf.random.set_seed(7)
        inputs = [tf.cast(tf.random.normal(shape), dtype) for shape in shapes]
        traced = tf.function(operation(tf))
        return lambda: traced(*inputs)

    return prepare


WORKLOADS = tuple(
    Workload(
        f"{dtype}-{name}-{'ours' if ours else 'stock'}",
        f"{about} in {dtype}, {'ours' if ours else 'stock'}",
        _workload(operation, shapes, dtype, ours),
    )
    for ours in (False, True)
    for name, about, operation, shapes, types in OPERATIONS
    for dtype in types
)

if __name__ == "__main__":
    main("tensorflow_tuned_kernels", WORKLOADS)
