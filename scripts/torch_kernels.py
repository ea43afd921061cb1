"""List the kernels that torch wheels call for each operation and data type, as a Markdown table.

    .venv/bin/python -m scripts.torch_kernels WHEEL [WHEEL…]

The script installs each wheel and runs it under emulation, with oneDNN's verbose log enabled for one call. The
table has the implementation in the log. If the log is empty, the kernel is from BLAS or from PyTorch.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from scripts.emulated_torch import output_of

ASKED = """
import json, warnings
import torch
from torch.backends import mkldnn
warnings.simplefilter("ignore")

F = torch.nn.functional
types = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
cases = {}
for name, kind in types.items():
    a, b = torch.ones(64, 64, dtype=kind), torch.ones(64, 64, dtype=kind)
    image, weight = torch.ones(1, 16, 16, 16, dtype=kind), torch.ones(32, 16, 3, 3, dtype=kind)
    x, w = torch.ones(64, 128, dtype=kind), torch.ones(32, 128, dtype=kind)
    cases["matmul", name] = lambda a=a, b=b: a @ b
    cases["linear", name] = lambda x=x, w=w: F.linear(x, w)
    cases["conv2d", name] = lambda image=image, weight=weight: F.conv2d(image, weight, padding=1)
fast = torch.ones(64, 64)

def in_bfloat16():
    torch.set_float32_matmul_precision("medium")
    result = fast @ fast
    torch.set_float32_matmul_precision("highest")
    return result

cases["matmul", "float32, precision medium"] = in_bfloat16
for engine in torch.backends.quantized.supported_engines:
    if engine == "none":
        continue
    torch.backends.quantized.engine = engine
    layer = torch.ao.nn.quantized.dynamic.Linear(64, 64)
    def quantised(engine=engine, layer=layer):
        torch.backends.quantized.engine = engine
        return layer(torch.ones(8, 64))
    cases["quantised linear", f"int8, {engine}"] = quantised

for (operation, kind), call in cases.items():
    fault = ""
    with torch.no_grad():
        try:
            call()  # weights are packed once
            print("armwheels begin", flush=True)
            with mkldnn.verbose(mkldnn.VERBOSE_ON) if mkldnn.is_available() else warnings.catch_warnings():
                call()
        except Exception as error:
            fault = str(error).splitlines()[0]
    print("\\narmwheels end", json.dumps([operation, kind, fault]), flush=True)
"""
# Fields of a line: marker, version, "primitive", "exec", engine, kind, implementation, … (oneDNN, "Verbose Mode").
_PRIMITIVE = re.compile(r"^onednn_verbose,(?:v1,)?primitive,exec,cpu,(\w+),([^,]+),", re.MULTILINE)
_CASE = re.compile(r"armwheels begin\n(.*?)\narmwheels end (\[.*?\])\n", re.DOTALL)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheels", type=Path, nargs="+")
    parser.add_argument("--target", default="neoverse-v1", help="the CPU to run on")
    asked = parser.parse_args()
    answers = [read(answer) for answer in output_of(asked.wheels, asked.target, ASKED)]
    print("| operation | data type |", " | ".join(wheel.name for wheel in asked.wheels), "|")
    print("| --- " * (2 + len(answers)) + "|")
    for case in dict.fromkeys(case for answer in answers for case in answer):
        print("|", " | ".join([*case, *(answer.get(case, "not there") for answer in answers)]), "|")
    return 0


def read(log: str) -> dict[tuple[str, str], str]:
    """Return the kernel that each case called, by operation and data type."""
    found = {}
    for lines, result in _CASE.findall(log):
        operation, kind, fault = json.loads(result)
        called = [
            f"{primitive} `{implementation}`"
            for primitive, implementation in _PRIMITIVE.findall(lines)
            if primitive != "reorder"
        ]
        found[operation, kind] = fault or ", ".join(dict.fromkeys(called)) or "not oneDNN"
    return found


if __name__ == "__main__":
    sys.exit(main())
