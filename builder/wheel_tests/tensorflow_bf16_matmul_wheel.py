"""Runs inside the emulated environment: does the extension agree with TensorFlow's own operations?

The same inputs, rounded to bfloat16, go through TensorFlow's matrix product in float32. Whole numbers must come out
exact, others within what another order of additions in float32 makes. One JSON line a check.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from kit import Result, report

# Depths around every vector length, edges of every tile, and one large enough for two threads.
SHAPES = (
    (1, 1, 1),
    (1, 7, 3),
    (2, 8, 4),
    (3, 16, 5),
    (5, 31, 6),
    (7, 129, 13),
    (33, 515, 70),
    (64, 512, 256),
)


def by_steps(tf: Any, x: Any, weight: Any, bias: Any, relu: bool) -> Any:
    """The same in TensorFlow's own operations, in float32."""
    y = tf.matmul(tf.cast(x, tf.float32), tf.cast(weight, tf.float32), transpose_b=True) + bias
    return tf.nn.relu(y) if relu else y


def check_import(tf: Any, extension: Any) -> Result:
    flag = "-D_GLIBCXX_USE_CXX11_ABI=1"
    abi = flag in tf.sysconfig.get_compile_flags()
    detail = f"TensorFlow {tf.__version__}, C++11 ABI {'on' if abi else 'off'}; kernel: {extension.kernel()}"
    return tf.__version__ == "2.14.1" and abi and bool(extension.kernel()), detail


def check_whole_numbers(tf: Any, extension: Any) -> Result:
    wrong = []
    for m, k, n in SHAPES:
        x = tf.cast(tf.random.uniform((m, k), -8, 9, tf.int32), tf.bfloat16)
        weight = tf.cast(tf.random.uniform((n, k), -8, 9, tf.int32), tf.bfloat16)
        bias = tf.cast(tf.random.uniform((n,), -99, 100, tf.int32), tf.float32)
        for relu in (False, True):
            found = extension.bf16_dense(x, weight, bias, relu=relu)
            if not bool(tf.reduce_all(found == by_steps(tf, x, weight, bias, relu))):
                wrong.append(f"{m}x{k}x{n}")
    return (
        not wrong,
        f"wrong for {', '.join(wrong)}" if wrong else f"{len(SHAPES)} shapes exact, with relu and without",
    )


def check_fractions(tf: Any, extension: Any) -> Result:
    worst = 0.0
    for m, k, n in SHAPES:
        x, weight = (tf.cast(tf.random.normal(shape), tf.bfloat16) for shape in ((m, k), (n, k)))
        bias = tf.random.normal((n,))
        expected = by_steps(tf, x, weight, bias, relu=False)
        found = extension.bf16_dense(x, weight, bias)
        worst = max(worst, float(tf.reduce_max(tf.abs(found - expected)) / tf.reduce_max(tf.abs(expected))))
    return worst < 1e-5, f"apart by {worst:.1e} of the largest value at most"


def check_layer(tf: Any, extension: Any) -> Result:
    layer = tf.keras.layers.Dense(96, activation="relu", bias_initializer="random_normal")
    x = tf.random.normal((18, 256))
    expected = layer(x)
    apart = float(tf.reduce_max(tf.abs(extension.dense(layer, x) - expected)) / tf.reduce_max(expected))
    return (
        apart < 0.02,
        f"a layer of 256 to 96 in float32 and in bfloat16: apart by {apart:.1%} of the largest value",
    )


def check_graph(tf: Any, extension: Any) -> Result:
    """Traced into a graph its shape is known, and what is faulty is refused there and when it runs."""
    weight, bias = tf.ones((6, 8), tf.bfloat16), tf.zeros(6)
    dense = tf.function(lambda x: extension.bf16_dense(x, weight, bias))
    shape = dense.get_concrete_function(tf.TensorSpec((None, 8), tf.bfloat16)).output_shapes.as_list()
    exact = bool(tf.reduce_all(dense(tf.ones((3, 8), tf.bfloat16)) == 8.0))
    faulty: tuple[Callable[[], object], ...] = (
        lambda: dense(tf.ones((3, 9), tf.bfloat16)),
        lambda: extension.bf16_dense(weight, weight, bias[:5]),
    )
    refused = 0
    for call in faulty:
        try:
            call()
        except (ValueError, tf.errors.InvalidArgumentError):
            refused += 1
    good = shape == [None, 6] and exact and refused == 2
    return good, f"shape {shape}; {refused} of 2 faulty calls refused"


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow 2.14 imports distutils, which Debian's Python leaves out and setuptools brings.
    import setuptools  # noqa: F401 - it brings distutils
    import tensorflow as tf
    import tensorflow_bf16_matmul as extension

    tf.random.set_seed(20)
    checks: tuple[Callable[[Any, Any], Result], ...] = (
        check_import,
        check_whole_numbers,
        check_fractions,
        check_layer,
        check_graph,
    )
    report({check.__name__.removeprefix("check_"): partial(check, tf, extension) for check in checks})


if __name__ == "__main__":
    main()
