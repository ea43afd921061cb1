"""TensorFlow's own kernels, compiled for this wheel's CPU, in the place of those that TensorFlow came with.

    import tensorflow_tuned_kernels

    tensorflow_tuned_kernels.load()  # before the first operation and before models are traced

TensorFlow keeps the kernels it has looked up: an operation that ran before goes on with the stock one, eagerly
and in functions that were traced. Without :func:`load` nothing changes.
"""

from __future__ import annotations

import ctypes
import re
import warnings
from pathlib import Path

import tensorflow as tf
from tensorflow.python.framework import dtypes, kernels

_PR_SVE_GET_VL = 51
_PR_SVE_VL_LEN_MASK = 0xFFFF
_PRIORITY = 1
_OPS = (
    "MatMul",
    "_FusedMatMul",
    "BatchMatMul",
    "BatchMatMulV2",
    "Conv2D",
    "_FusedConv2D",
    "Softmax",
    "LogSoftmax",
)

_loaded: dict[Path, ctypes.CDLL] = {}


def vector_bits() -> int:
    """The length of this process's SVE vectors (prctl(2), ``PR_SVE_GET_VL``); 0 without SVE."""
    answer = ctypes.CDLL(None).prctl(_PR_SVE_GET_VL, 0, 0, 0, 0)
    return 8 * (answer & _PR_SVE_VL_LEN_MASK) if answer > 0 else 0


def load() -> tuple[str, ...]:
    """Let what fits this machine take over; returns the names of the libraries loaded so far.

    A library whose vectors have another length than the machine's would compute nonsense. It stays off with a
    warning, and TensorFlow's own kernels run on: they are correct, and the rest of the package is of use without.
    """
    for path in sorted(Path(__file__).parent.glob("_float*.so")):
        if path in _loaded:
            continue
        fixed = re.search(r"_sve([0-9]+)", path.name)
        if fixed and int(fixed[1]) != vector_bits():
            warnings.warn(
                f"{path.name} is for SVE vectors of {fixed[1]} bits, this machine has {vector_bits()}: "
                "TensorFlow's own kernels stay for what it holds",
                RuntimeWarning,
                stacklevel=2,
            )
            continue
        tf.load_library(str(path))
        library = ctypes.CDLL(str(path))
        library.tuned_calls.restype = ctypes.c_int64
        library.tuned_calls.argtypes = [ctypes.c_char_p]
        _loaded[path] = library
    return tuple(path.name.partition(".")[0] for path in _loaded)


def taken_over() -> dict[str, tuple[str, ...]]:
    """Which operations have kernels of ours, and for which types."""
    found: dict[str, tuple[str, ...]] = {}
    for op in _OPS:
        ours = [one for one in kernels.get_registered_kernels_for_op(op).kernel if one.priority == _PRIORITY]
        types = {
            dtypes.as_dtype(number).name
            for one in ours
            for constraint in one.constraint
            if constraint.name == "T"
            for number in constraint.allowed_values.list.type
        }
        if types:
            found[op] = tuple(sorted(types))
    return found


def calls(op: str) -> int:
    """How often kernels of ours have run for an operation such as ``MatMul``."""
    return sum(int(library.tuned_calls(op.encode())) for library in _loaded.values())
