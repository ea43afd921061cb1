"""TensorFlow Lite's workloads: one operation each, in a model that is written here, byte by byte.

A model is a FlatBuffers file (flatbuffers.dev, "FlatBuffer Internals") by TensorFlow's ``lite/schema/schema.fbs``;
the numbers beside the tables are slots of that schema. Weights and inputs come from one seed.
"""

import struct
from collections.abc import Callable
from typing import Any

from kit import Run, Workload, main

FLOAT32, INT32, INT8 = 0, 2, 9
CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, SOFTMAX = 3, 4, 9, 25
OPTIONS = {CONV_2D: 1, DEPTHWISE_CONV_2D: 2, FULLY_CONNECTED: 8, SOFTMAX: 9}
SIZES = {"B": 1, "i": 4, "I": 4, "f": 4, "q": 8}

Table = dict[int, Any]
"""Fields by slot: a scalar as (format, value), else a table, text, bytes, or a list of one kind of these."""


class Writer:
    """Writes tables front to back: a reference is filled in as soon as what it refers to has its place."""

    def __init__(self) -> None:
        self.data = bytearray(b"\0\0\0\0TFL3")

    def file(self, root: Table) -> bytes:
        self._refer(0, self._table(root))
        return bytes(self.data)

    def _align(self, size: int, ahead: int = 0) -> None:
        self.data += bytes(-(len(self.data) + ahead) % size)

    def _refer(self, place: int, target: int) -> None:
        struct.pack_into("<I", self.data, place, target - place)

    def _table(self, fields: Table) -> int:
        count = max(fields, default=-1) + 1
        offsets, size = [0] * count, 4
        for slot, value in sorted(fields.items()):
            width = SIZES[value[0]] if isinstance(value, tuple) else 4
            size += -size % width
            offsets[slot] = size
            size += width
        self._align(4, ahead=4 + 2 * count)
        vtable = len(self.data)
        self.data += struct.pack(f"<HH{count}H", 4 + 2 * count, size, *offsets)
        table = len(self.data)
        self.data += struct.pack("<i", table - vtable) + bytes(size - 4)
        for slot, value in sorted(fields.items()):
            if isinstance(value, tuple):
                struct.pack_into(f"<{value[0]}", self.data, table + offsets[slot], value[1])
            else:
                self._refer(table + offsets[slot], self._value(value))
        return table

    def _value(self, value: Any) -> int:
        if isinstance(value, dict):
            return self._table(value)
        if isinstance(value, str):
            value = value.encode() + b"\0"
            return self._vector(value, len(value) - 1, 1)
        if isinstance(value, bytes):
            return self._vector(value, len(value), 16)
        if value and isinstance(value[0], dict):
            place = self._vector(bytes(4 * len(value)), len(value), 4)
            for number, table in enumerate(value):
                self._refer(place + 4 + 4 * number, self._table(table))
            return place
        kind = "q" if value and isinstance(value[0], Wide) else "f" if isinstance(value[0], float) else "i"
        return self._vector(struct.pack(f"<{len(value)}{kind}", *value), len(value), SIZES[kind])

    def _vector(self, content: bytes, count: int, alignment: int) -> int:
        self._align(max(4, alignment), ahead=4)
        place = len(self.data)
        self.data += struct.pack("<I", count) + content
        return place


class Wide(int):
    """A number that takes eight bytes."""


def _tensor(shape: list[int], kind: int, buffer: int, scale: float, zero: int = 0) -> Table:
    table: Table = {0: shape, 1: ("B", kind), 2: ("I", buffer), 3: "t"}
    return table | ({} if kind == FLOAT32 else {4: {2: [scale], 3: [Wide(zero)]}})


def model(
    operation: int, options: Table, shapes: list[list[int]], constants: list[bytes], int8: bool
) -> bytes:
    """A model of one operation; ``shapes`` are those of its input, its constants (weights, bias) and its output."""
    last = len(shapes) - 1
    weights, bias = (INT8, INT32) if int8 else (FLOAT32, FLOAT32)
    # Products of int8 by int8 are summed in the product of their scales, which is the bias's.
    tensors = [
        _tensor(shapes[0], weights, 0, 0.02),
        *(_tensor(shape, weights, 1, 0.01) for shape in shapes[1:last][:1]),
        *(_tensor(shape, bias, 2, 0.0002) for shape in shapes[1:last][1:]),
        # Probabilities are asked for in this scale.
        _tensor(shapes[last], weights, 0, *((1 / 256, -128) if operation == SOFTMAX else (0.25, 0))),
    ]
    graph: Table = {
        0: tensors,
        1: [0],
        2: [last],
        3: [{1: list(range(last)), 2: [last], 3: ("B", OPTIONS[operation]), 4: options}],
    }
    code: Table = {0: ("B", operation), 2: ("i", 3 if int8 else 1), 3: ("i", operation)}
    return Writer().file({0: ("I", 3), 1: [code], 2: [graph], 4: [{}, *({0: data} for data in constants)]})


def _prepare(
    operation: int, options: Table, shape: list[int], weights: list[int], output: list[int], int8: bool
) -> Callable[[], Run]:
    def prepare() -> Run:
        import numpy as np
        from tflite_runtime.interpreter import Interpreter

        generator = np.random.default_rng(7)

        def values(size: list[int]) -> Any:
            if int8:
                return generator.integers(-127, 127, size, dtype=np.int8)
            return generator.standard_normal(size).astype(np.float32)

        constants = (
            [values(weights), np.zeros(output[-1], np.int32 if int8 else np.float32)] if weights else []
        )
        shapes = [shape, *(list(constant.shape) for constant in constants), output]
        content = model(operation, options, shapes, [constant.tobytes() for constant in constants], int8)
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values(shape))
        return interpreter.invoke

    return prepare


IMAGE, BATCH = [1, 28, 28, 64], [128, 512]
STRIDES: Table = {1: ("i", 1), 2: ("i", 1)}


def _conv(int8: bool) -> Callable[[], Run]:
    return _prepare(CONV_2D, STRIDES, IMAGE, [64, 3, 3, 64], IMAGE, int8)


def _depthwise(int8: bool) -> Callable[[], Run]:
    return _prepare(DEPTHWISE_CONV_2D, STRIDES | {3: ("i", 1)}, IMAGE, [1, 3, 3, 64], IMAGE, int8)


def _fully_connected(batch: int, int8: bool) -> Callable[[], Run]:
    return _prepare(FULLY_CONNECTED, {0: ("B", 0)}, [batch, 512], [512, 512], [batch, 512], int8)


def _softmax(int8: bool) -> Callable[[], Run]:
    return _prepare(SOFTMAX, {0: ("f", 1.0)}, [256, 1024], [], [256, 1024], int8)


WORKLOADS = (
    Workload("conv2d-fp32", "3 x 3 convolution, 64 to 64 channels, 28 x 28", _conv(False)),
    Workload("conv2d-int8", "the same in int8", _conv(True)),
    Workload("depthwise-fp32", "3 x 3 depthwise convolution, 64 channels, 28 x 28", _depthwise(False)),
    Workload("depthwise-int8", "the same in int8", _depthwise(True)),
    Workload("dense-fp32", "fully connected layer, 128 x 512 to 512", _fully_connected(128, False)),
    Workload("dense-int8", "the same in int8", _fully_connected(128, True)),
    Workload("dense-one-fp32", "fully connected layer, one row of 512 to 512", _fully_connected(1, False)),
    Workload("dense-one-int8", "the same in int8", _fully_connected(1, True)),
    Workload("softmax-fp32", "softmax over 256 rows of 1,024", _softmax(False)),
    Workload("softmax-int8", "the same in int8", _softmax(True)),
)

if __name__ == "__main__":
    main("tflite_runtime.interpreter", WORKLOADS)
