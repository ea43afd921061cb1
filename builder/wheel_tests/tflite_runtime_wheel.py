"""Runs inside the emulated environment: does this interpreter give the stored results for TensorFlow's own models?

The models lie in ``data`` below the current folder, taken from the pinned source. The results come from another
build on another architecture, by the command that stands in tflite_runtime_wheel.json. Nothing is random. One JSON
line a check, on standard output.

``python tflite_runtime_wheel.py --make`` prints results of the interpreter at hand instead of comparing them.
"""

import json
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from kit import Result, report

KEPT = 64


class Case(NamedTuple):
    """A model of TensorFlow's tree and what it is given.

    ``tolerance`` is a part of the largest stored value; in quantised models it stands beside ``steps``, the steps
    of the output's own scale by which another kernel may round.
    """

    model: str
    about: str
    tolerance: float = 1e-5
    steps: int = 0
    span: int = 255
    divisor: int = 256
    threads: int = 1


CASES = {
    "classifier": Case("mobilenet_like_model.bin", "convolutions, pooling, softmax; float"),
    "classifier_int8": Case(
        "fc_qat.bin", "fully connected layer of int8 for digits of 28 x 28", steps=1, span=32
    ),
    "detector": Case("blazeface_mlkit_v1.tfl", "faces: 29 convolutions, 21 depthwise; float"),
    "detector_two_threads": Case("blazeface_mlkit_v1.tfl", "the same by two threads", threads=2),
    "conv_float16": Case("test_model_redux_precision.bin", "weights kept as float16"),
    "depthwise_int8": Case("pc_conv.bin", "a scale for each channel", tolerance=1e-6, steps=1),
    "add_int8": Case("add_quantized_int8.bin", "sums of int8", steps=1, span=63),
    "add_uint8": Case("add_quantized.bin", "sums of uint8", steps=1, span=63),
    "lstm": Case("unidirectional_sequence_lstm.bin", "recurrent; float"),
    "lstm_int8": Case("unidirectional_sequence_lstm_quantized.bin", "recurrent; int8 and int16", steps=1),
    "loop": Case("multi_subgraphs_while.bin", "control flow over two subgraphs", divisor=64),
    "variable": Case("call_once_mul.bin", "a resource variable, set once"),
}


def spread(np: Any, shape: Any, dtype: Any, case: Case, seed: int) -> Any:
    """Whole numbers around zero (for unsigned types from zero on), over a power of two where the type allows."""
    n = np.arange(int(np.prod(shape)), dtype=np.int64)
    values = (3 * n * n + seed * n) % 65521 % case.span
    if dtype == np.uint8:
        return values.astype(dtype).reshape(shape)
    values = values - case.span // 2
    if np.issubdtype(dtype, np.floating):
        return (values / case.divisor).astype(dtype).reshape(shape)
    return values.astype(dtype).reshape(shape)


def run(case: Case) -> tuple[list[Any], list[float]]:
    """The outputs of a model, and the scale of each (0 where it is not quantised)."""
    import numpy as np
    from tflite_runtime.interpreter import Interpreter

    interpreter = Interpreter(str(Path("data") / case.model), num_threads=case.threads)
    interpreter.allocate_tensors()
    for seed, detail in enumerate(interpreter.get_input_details(), start=41):
        interpreter.set_tensor(
            detail["index"], spread(np, detail["shape"], np.dtype(detail["dtype"]), case, seed)
        )
    interpreter.invoke()
    details = interpreter.get_output_details()
    outputs = [interpreter.get_tensor(detail["index"]) for detail in details]
    return outputs, [inner_scale(interpreter, detail) for detail in details]


def inner_scale(interpreter: Any, detail: Any) -> float:
    """One step of an output: its own scale, or that of the quantised tensor from which it was made last."""
    import numpy as np

    if not np.issubdtype(detail["dtype"], np.floating):
        return 1.0
    scales = [
        float(tensor["quantization"][0])
        for tensor in interpreter.get_tensor_details()
        if tensor["dtype"] in (np.int8, np.uint8) and list(tensor["shape"]) == list(detail["shape"])
    ]
    return scales[-1] if scales else 0.0


def kept(output: Any) -> dict[str, Any]:
    """What is stored of an output: its shape, its mean, where it is largest, and values spread evenly over it."""
    flat = output.reshape(-1).astype("float64")
    chosen = flat[:: max(1, len(flat) // KEPT)]
    return {
        "shape": list(output.shape),
        "mean": float(flat.mean()),
        "largest": int(flat.argmax()),
        "values": [float(value) for value in chosen],
    }


def compare(case: Case, stored: list[dict[str, Any]]) -> Result:
    outputs, scales = run(case)
    if len(outputs) != len(stored):
        return False, f"{len(outputs)} outputs, not {len(stored)}"
    told, ok = [], True
    for output, scale, expected in zip(outputs, scales, stored, strict=True):
        found = kept(output)
        if found["shape"] != expected["shape"]:
            return False, f"shape {found['shape']}, not {expected['shape']}"
        pairs = [*zip(found["values"], expected["values"], strict=True), (found["mean"], expected["mean"])]
        error = max(abs(one - other) for one, other in pairs)
        limit = case.tolerance * max(abs(other) for _, other in pairs) + case.steps * scale
        # NaN passes no comparison. A quantised output may hold its largest value twice.
        ok = ok and error <= limit and (found["largest"] == expected["largest"] or case.steps > 0)
        told.append(f"{error:.1e} (at most {limit:.1e})")
    return ok, f"{case.about}: largest errors {', '.join(told)}"


def check_import(_: Any) -> Result:
    import numpy as np
    import tflite_runtime

    ours, named = tflite_runtime.__version__, version("tflite-runtime").partition("+")[0]
    ok = ours == named and int(np.__version__.split(".")[0]) >= 2
    return ok, f"tflite_runtime {ours} with NumPy {np.__version__}"


def check_strings(stored: Any) -> Result:
    from tflite_runtime.interpreter import Interpreter

    interpreter = Interpreter("data/string_input_model.bin")
    interpreter.allocate_tensors()
    import numpy as np

    words = np.array([[word.encode() for word in stored]])
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], words)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return found.tolist() == words.tolist(), f"{len(stored)} texts through a tensor"


def check_signature(stored: Any) -> Result:
    import numpy as np
    from tflite_runtime.interpreter import Interpreter

    interpreter = Interpreter("data/multi_signatures.bin")
    found = {}
    for name in sorted(interpreter.get_signature_list()):
        [argument] = interpreter.get_signature_list()[name]["inputs"]
        runner = interpreter.get_signature_runner(name)
        [value] = runner(**{argument: np.array([2.5], dtype=np.float32)}).values()
        found[name] = float(value[0])
    return found == stored, f"{len(found)} signatures: {found}"


def check_refusal(_: Any) -> Result:
    """An operation nobody registered must be told as an exception, across C++ and Python."""
    from tflite_runtime.interpreter import Interpreter

    try:
        Interpreter("data/custom_sinh.bin").allocate_tensors()
    except RuntimeError as error:
        return "Sinh" in str(error), f"told: {str(error).splitlines()[0]}"
    return False, "an unknown operation was accepted"


def check_buffers(_: Any) -> Result:
    """`tensor()` shows the interpreter's own memory; running while it is held is refused."""
    import numpy as np
    from tflite_runtime.interpreter import Interpreter

    interpreter = Interpreter("data/add_quantized_int8.bin")
    interpreter.allocate_tensors()
    view = interpreter.tensor(interpreter.get_input_details()[0]["index"])
    view().fill(7)
    same = bool((interpreter.get_tensor(interpreter.get_input_details()[0]["index"]) == 7).all())
    held = view()
    try:
        interpreter.invoke()
    except RuntimeError:
        refused = True
    else:
        refused = False
    del held
    interpreter.invoke()
    return same and refused and np.int8(7) == 7, "written in place; a held view stops the run"


def make() -> None:
    """Print what would be stored of the interpreter at hand."""
    import tflite_runtime

    results = {name: [kept(output) for output in run(case)[0]] for name, case in CASES.items()}
    print(json.dumps({"made with": tflite_runtime.__version__, "models": results}, indent=1))


def check(name: str, expected: Any) -> Result:
    if name in CASES:
        return compare(CASES[name], expected)
    result: Result = globals()[f"check_{name}"](expected)
    return result


def main() -> None:
    if sys.argv[1:] == ["--make"]:
        make()
        return
    stored = json.loads(Path(__file__).with_suffix(".json").read_text())
    expected = {**stored["expected"], **stored["models"]}
    report({name: partial(check, name, value) for name, value in expected.items()}, vital="import")


if __name__ == "__main__":
    main()
