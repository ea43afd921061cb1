"""Workloads of oneDNN through its C interface (``dnnl.h`` of oneDNN 3): products, convolutions, functions.

Weights are packed before they are counted, as frameworks do. Some elements of each first result are compared with
sums in Python.
"""

import ctypes
import importlib.util
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import kit

_Handle = ctypes.c_void_p
_Dims = ctypes.c_int64 * 12  # DNNL_MAX_NDIMS
_INFERENCE = 96  # dnnl_forward_inference
_CONVOLUTION, _SOFTMAX, _MAXIMUM = 1, 0x30000, 0x1FF  # dnnl_alg_kind_t
_ANY = 1  # dnnl_format_tag_any
_WEIGHTS_OF = 131  # dnnl_query_weights_md
_SOURCE, _RESULT, _WEIGHTS = 1, 17, 33  # DNNL_ARG_*
_CHECKED = 6
_PERIOD = 1009  # of inputs: a prime, so that rows differ
# dnnl_data_type_t, bytes of an element, and the tolerance of a result as a share of the largest.
_TYPES = {
    "f32": (3, 4, 1e-5),
    "bf16": (2, 2, 2e-2),
    "f16": (1, 2, 5e-3),
    "s8": (5, 1, 0.0),
    "s32": (4, 4, 0.0),
}


class _Argument(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_int), ("memory", _Handle))


@cache
def _library() -> ctypes.CDLL:
    found = importlib.util.find_spec("library_onednn")
    if found is None or found.origin is None:
        raise kit.Unavailable("library_onednn is not installed")
    [path] = Path(found.origin).parent.glob("lib/libdnnl.so*")
    library = ctypes.CDLL(str(path))
    library.dnnl_primitive_desc_query_md.restype = _Handle
    return library


def _made(function: str, *arguments: object) -> _Handle:
    """Call a function that creates an object, and return it."""
    handle = _Handle()
    if status := getattr(_library(), function)(ctypes.byref(handle), *arguments):
        raise kit.Unavailable(f"this oneDNN has no such primitive: {function} returns {status}")
    return handle


def _dims(values: Sequence[int]) -> "ctypes.Array[ctypes.c_int64]":
    return _Dims(*values)


@cache
def _engine() -> _Handle:
    return _made("dnnl_engine_create", ctypes.c_int(1), ctypes.c_size_t(0))


@cache
def _stream() -> _Handle:
    return _made("dnnl_stream_create", _engine(), ctypes.c_uint(1))


def _dense(shape: Sequence[int], kind: str, order: Sequence[int] | None = None) -> _Handle:
    """Describe a dense tensor. ``order`` has its axes, the slowest first."""
    strides, step = [0] * len(shape), 1
    for axis in reversed(order or range(len(shape))):
        strides[axis] = step
        step *= shape[axis]
    return _made(
        "dnnl_memory_desc_create_with_strides", len(shape), _dims(shape), _TYPES[kind][0], _dims(strides)
    )


def _packed(shape: Sequence[int], kind: str) -> _Handle:
    """Describe a tensor whose layout the primitive chooses."""
    return _made("dnnl_memory_desc_create_with_tag", len(shape), _dims(shape), _TYPES[kind][0], _ANY)


def _memory(description: _Handle, buffer: object = None) -> _Handle:
    """A tensor over ``buffer``, or in memory of the library's (DNNL_MEMORY_ALLOCATE)."""
    where = ctypes.c_void_p(-1) if buffer is None else ctypes.cast(buffer, ctypes.c_void_p)  # type: ignore[arg-type]
    return _made("dnnl_memory_create", description, _engine(), where)


def _runner(description: _Handle, tensors: dict[int, _Handle]) -> kit.Run:
    primitive = _made("dnnl_primitive_create", description)
    arguments = (_Argument * len(tensors))(*(_Argument(*pair) for pair in tensors.items()))
    library, stream = _library(), _stream()
    execute, wait = library.dnnl_primitive_execute, library.dnnl_stream_wait

    def run() -> None:
        if status := execute(primitive, stream, len(arguments), arguments) or wait(stream):
            raise RuntimeError(f"dnnl_primitive_execute returns {status}")

    run()
    return run


def _copied(source: _Handle, description: _Handle, target: _Handle, wanted: object) -> kit.Run:
    made = _made("dnnl_reorder_primitive_desc_create", description, _engine(), wanted, _engine(), None)
    return _runner(made, {_SOURCE: source, _RESULT: target})


def _numbers(shape: Sequence[int], seed: int, *, whole: bool = False) -> Any:
    """Values that bfloat16 has, so that products in any type have one right answer."""
    scale = 1 if whole else 16
    values = [
        ((place * 7 + place // 11 * 13 + seed * 5) % 17 - 8) / scale for place in range(math.prod(shape))
    ]
    return (ctypes.c_float * len(values))(*values)


def _tensor(shape: Sequence[int], kind: str, values: Any, order: Sequence[int] | None = None) -> _Handle:
    """A tensor with these values; they lie in the same order in ``values``."""
    plain = _dense(shape, "f32", order)
    target = _memory(_dense(shape, kind, order))
    _copied(_memory(plain, values), plain, target, _dense(shape, kind, order))
    return target


def _values(shape: Sequence[int], kind: str, tensor: _Handle, order: Sequence[int] | None = None) -> Any:
    found = (ctypes.c_float * math.prod(shape))()
    plain = _dense(shape, "f32", order)
    _copied(tensor, _dense(shape, kind, order), _memory(plain, found), plain)
    return found


def _check(kind: str, found: Sequence[float], expected: Sequence[float]) -> None:
    most = max(map(abs, expected)) + 1e-30
    for one, other in zip(found, expected, strict=True):
        if not abs(one - other) <= _TYPES[kind][2] * most + 1e-6:
            raise ValueError(f"wrong result: {one} in place of {other}")


def _product(kind: str, rows: int, inner: int, columns: int) -> kit.Run:
    result = "s32" if kind == "s8" else kind
    shapes = ([rows, inner], [inner, columns], [rows, columns])
    a, b = (_numbers(shape, seed, whole=kind == "s8") for seed, shape in enumerate(shapes[:2]))
    order = (1, 0)  # those of a linear layer lie transposed
    made = _made(
        "dnnl_matmul_primitive_desc_create",
        *(
            _engine(),
            _dense(shapes[0], kind),
            _packed(shapes[1], kind),
            None,
            _dense(shapes[2], result),
            None,
        ),
    )
    wanted = ctypes.c_void_p(_library().dnnl_primitive_desc_query_md(made, _WEIGHTS_OF, 0))
    weights = _memory(wanted)
    _copied(_tensor(shapes[1], kind, b, order), _dense(shapes[1], kind, order), weights, wanted)
    c = _memory(_dense(shapes[2], result))
    run = _runner(made, {_SOURCE: _tensor(shapes[0], kind, a), _WEIGHTS: weights, _RESULT: c})
    places = [(place * 37 % rows, place * 53 % columns) for place in range(1, _CHECKED + 1)]
    found = _values(shapes[2], result, c)
    _check(
        kind,
        [found[row * columns + column] for row, column in places],
        [sum(a[row * inner + k] * b[column * inner + k] for k in range(inner)) for row, column in places],
    )
    return run


_BATCH_LAST = (0, 2, 3, 1)  # channels_last


def _convolution(kind: str, channels: int, size: int, window: int, *, depthwise: bool = False) -> kit.Run:
    source = [1, channels, size, size]
    shape = [channels, 1, 1, window, window] if depthwise else [channels, channels, window, window]
    data, filters = _numbers(source, 1), _numbers(shape, 2)
    image = _dense(source, kind, _BATCH_LAST)
    ones, none, border = _dims([1, 1]), _dims([0, 0]), _dims([window // 2] * 2)
    made = _made(
        "dnnl_convolution_forward_primitive_desc_create",
        *(_engine(), _INFERENCE, _CONVOLUTION, image, _packed(shape, kind), None, image),
        *(ones, none, border, border, None),
    )
    wanted = ctypes.c_void_p(_library().dnnl_primitive_desc_query_md(made, _WEIGHTS_OF, 0))
    weights = _memory(wanted)
    _copied(_tensor(shape, kind, filters), _dense(shape, kind), weights, wanted)
    result = _memory(image)
    pixels = _tensor(source, kind, data, _BATCH_LAST)
    run = _runner(made, {_SOURCE: pixels, _WEIGHTS: weights, _RESULT: result})
    found = _values(source, kind, result, _BATCH_LAST)

    def expected(channel: int, row: int, column: int) -> float:
        total = 0.0
        for i in range(window):
            for j in range(window):
                y, x = row + i - window // 2, column + j - window // 2
                if not (0 <= y < size and 0 <= x < size):
                    continue
                pixel = (y * size + x) * channels
                if depthwise:
                    total += data[pixel + channel] * filters[channel * window**2 + i * window + j]
                    continue
                for one in range(channels):
                    place = (channel * channels + one) * window**2 + i * window + j
                    total += data[pixel + one] * filters[place]
        return total

    places = [(p * 31 % channels, p * 17 % size, p * 13 % size) for p in range(1, _CHECKED + 1)]
    _check(
        kind, [found[(y * size + x) * channels + c] for c, y, x in places], [expected(*one) for one in places]
    )
    return run


# dnnl_alg_kind_t, and what Python computes.
_ELEMENTWISE: dict[str, tuple[int, Callable[[float], float]]] = {
    "relu": (0x20, lambda x: max(x, 0.0)),
    "tanh": (0x21, math.tanh),
    "sigmoid": (0x29, lambda x: 1 / (1 + math.exp(-x))),
    "exp": (0x2A, math.exp),
    "gelu": (0x31, lambda x: x / 2 * (1 + math.erf(x / math.sqrt(2)))),
}
_COUNT = 16384


def _elementwise(name: str, kind: str) -> kit.Run:
    algorithm, function = _ELEMENTWISE[name]
    shape = [_COUNT]
    values, plain = _numbers(shape, 3), _dense(shape, kind)
    made = _made(
        "dnnl_eltwise_forward_primitive_desc_create",
        *(_engine(), _INFERENCE, algorithm, plain, plain, ctypes.c_float(0), ctypes.c_float(0), None),
    )
    result = _memory(plain)
    run = _runner(made, {_SOURCE: _tensor(shape, kind, values), _RESULT: result})
    places = [place * 97 for place in range(_CHECKED)]
    found = _values(shape, kind, result)
    _check(kind, [found[one] for one in places], [function(values[one]) for one in places])
    return run


def _softmax(kind: str) -> kit.Run:
    rows, columns = shape = [32, 512]
    values, plain = _numbers(shape, 4), _dense(shape, kind)
    made = _made(
        "dnnl_softmax_forward_primitive_desc_create",
        *(_engine(), _INFERENCE, _SOFTMAX, plain, plain, 1, None),
    )
    result = _memory(plain)
    run = _runner(made, {_SOURCE: _tensor(shape, kind, values), _RESULT: result})
    found, last = _values(shape, kind, result), (rows - 1) * columns
    total = sum(map(math.exp, values[last:]))
    _check(kind, found[last:], [math.exp(one) / total for one in values[last:]])
    return run


def _maximum() -> kit.Run:
    channels, size = 64, 28
    source, target = [1, channels, size, size], [1, channels, size // 2, size // 2]
    values = _numbers(source, 5)
    image, smaller = _dense(source, "f32", _BATCH_LAST), _dense(target, "f32", _BATCH_LAST)
    two, none = _dims([2, 2]), _dims([0, 0])
    made = _made(
        "dnnl_pooling_forward_primitive_desc_create",
        *(_engine(), _INFERENCE, _MAXIMUM, image, smaller, two, two, none, none, none, None),
    )
    result = _memory(smaller)
    run = _runner(made, {_SOURCE: _tensor(source, "f32", values, _BATCH_LAST), _RESULT: result})
    found = _values(target, "f32", result, _BATCH_LAST)
    corners = [values[(y * size + x) * channels] for y in (0, 1) for x in (0, 1)]
    _check("f32", [found[0]], [max(corners)])
    return run


def _conversion(kind: str) -> kit.Run:
    shape = [_COUNT]
    values, plain, wanted = _numbers(shape, 6), _dense(shape, "f32"), _dense(shape, kind)
    target = _memory(wanted)
    run = _copied(_memory(plain, values), plain, target, wanted)
    _check("f32", _values(shape, kind, target), list(values))
    return lambda: (run(), values)  # the memory is Python's: it must live as long


_FLOATS = ("f32", "bf16", "f16")
# Small enough for the reference code, in which some types end on some CPUs.
_SIZES = {"f32": (64, 128, 256), "bf16": (32, 64, 128), "f16": (32, 64, 128), "s8": (32, 64, 128)}
WORKLOADS = (
    *(
        kit.Workload(f"matmul {kind} {n}", f"{n} x {n} times {n} x {n}", partial(_product, kind, n, n, n))
        for kind, sizes in _SIZES.items()
        for n in sizes
    ),
    *(
        kit.Workload(f"linear {kind}", "1 x 512 times 512 x 512", partial(_product, kind, 1, 512, 512))
        for kind in _SIZES
    ),
    *(
        kit.Workload(
            f"conv {window} x {window} {kind}",
            "32 channels of 14 x 14",
            partial(_convolution, kind, 32, 14, window),
        )
        for kind in _FLOATS
        for window in (1, 3)
    ),
    kit.Workload(
        "depthwise f32",
        "64 channels of 28 x 28, 3 x 3",
        partial(_convolution, "f32", 64, 28, 3, depthwise=True),
    ),
    *(
        kit.Workload(f"{name} f32", f"{_COUNT} elements", partial(_elementwise, name, "f32"))
        for name in _ELEMENTWISE
    ),
    kit.Workload("gelu bf16", f"{_COUNT} elements", partial(_elementwise, "gelu", "bf16")),
    *(kit.Workload(f"softmax {kind}", "32 rows of 512", partial(_softmax, kind)) for kind in ("f32", "bf16")),
    kit.Workload("max pool f32", "64 channels of 28 x 28, 2 x 2", _maximum),
    *(
        kit.Workload(f"f32 to {kind}", f"{_COUNT} elements", partial(_conversion, kind))
        for kind in ("bf16", "f16")
    ),
)

if __name__ == "__main__":
    kit.main("library_onednn", WORKLOADS)
