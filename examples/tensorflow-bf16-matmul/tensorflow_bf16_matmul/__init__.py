"""A dense layer on bfloat16 for inference: sums, bias and result in float32, one pass over memory."""

from __future__ import annotations

from importlib.util import find_spec

import tensorflow as tf

_found = find_spec("tensorflow_bf16_matmul._C")
if _found is None or _found.origin is None:
    raise ImportError("tensorflow_bf16_matmul was installed without its library")
_ops = tf.load_op_library(_found.origin)

bf16_dense = _ops.bf16_dense
"""``bf16_dense(x, weight, bias, relu=False)``: ``weight`` bfloat16 ``[outputs, inputs]``, ``bias`` float32."""


def kernel() -> str:
    """Which path this wheel was compiled with, such as ``SVE bfloat16 matrix multiply``."""
    return _ops.bf16_dense_kernel().numpy().decode()


def dense(layer: tf.keras.layers.Dense, x: tf.Tensor) -> tf.Tensor:
    """What a built Keras layer (activation linear or ReLU) computes, in bfloat16."""
    relu = layer.activation is tf.keras.activations.relu
    if not relu and layer.activation is not tf.keras.activations.linear:
        raise ValueError(f"no fused {layer.activation.__name__}; there are linear and relu")
    kernel_, bias = layer.kernel, layer.bias if layer.use_bias else tf.zeros(layer.units)
    weight = tf.cast(tf.transpose(kernel_), tf.bfloat16)
    return bf16_dense(tf.cast(x, tf.bfloat16), weight, tf.cast(bias, tf.float32), relu=relu)
