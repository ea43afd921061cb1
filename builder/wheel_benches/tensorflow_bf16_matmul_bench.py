"""The bfloat16 layer beside TensorFlow's own operations for the same layer, in bfloat16 and in float32."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kit import Run, Workload, main

# TensorFlow 2.14 imports distutils, which Debian's Python leaves out and setuptools brings; to list needs neither.
with suppress(ImportError):
    import setuptools  # noqa: F401 - it brings distutils

DEPTH, WIDTH = 512, 512


def _layer(rows: int, make: Callable[[Any, Any, Any], Callable[[Any], object]]) -> Callable[[], Run]:
    """A layer of 512 to 512 on so many rows, traced into a graph as models are."""

    def prepare() -> Run:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.random.set_seed(7)
        weight, bias = tf.cast(tf.random.normal((WIDTH, DEPTH)), tf.bfloat16), tf.random.normal((WIDTH,))
        x = tf.cast(tf.random.normal((rows, DEPTH)), tf.bfloat16)
        layer = tf.function(make(tf, weight, bias))
        return lambda: layer(x)

    return prepare


def _fused(_: Any, weight: Any, bias: Any) -> Callable[[Any], object]:
    import tensorflow_bf16_matmul

    return lambda x: tensorflow_bf16_matmul.bf16_dense(x, weight, bias, relu=True)


def _bfloat16(tf: Any, weight: Any, bias: Any) -> Callable[[Any], object]:
    short = tf.cast(bias, tf.bfloat16)
    return lambda x: tf.nn.relu(tf.matmul(x, weight, transpose_b=True) + short)


def _float32(tf: Any, weight: Any, bias: Any) -> Callable[[Any], object]:
    wide = tf.cast(weight, tf.float32)
    return lambda x: tf.nn.relu(tf.matmul(tf.cast(x, tf.float32), wide, transpose_b=True) + bias)


WORKLOADS = (
    Workload("bf16-dense", "this extension: 128 rows, 512 to 512, relu", _layer(128, _fused)),
    Workload("bfloat16", "tf.matmul in bfloat16, bias, relu", _layer(128, _bfloat16)),
    Workload("float32", "tf.matmul in float32, bias, relu", _layer(128, _float32)),
)

if __name__ == "__main__":
    main("tensorflow_bf16_matmul", WORKLOADS)
