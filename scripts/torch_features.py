"""Compare the build features of torch wheels in a Markdown table.

    .venv/bin/python -m scripts.torch_features WHEEL [WHEEL…]

The script installs each wheel and queries it under emulation, on the CPU of --target. It does not read build files.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from scripts.emulated_torch import output_of

ASKED = """
import json, re
import torch, torch.backends.xnnpack, torch.distributed, torch.distributed.rpc, torch.profiler.itt

config = torch.__config__.show()
settings = dict(re.findall(r"\\b((?:USE|BLAS|LAPACK)_?\\w*)=(\\w+)", config))
compiler = next((line.strip(" -") for line in config.splitlines() if "GCC" in line or "clang" in line), "")
onednn = re.search(r"Intel\\(R\\) MKL-DNN v([\\d.]+)|oneDNN v([\\d.]+)", config)
distributed = torch.distributed
print(json.dumps({
    "compiler": compiler,
    "libstdc++ ABI of C++11": torch.compiled_with_cxx11_abi(),
    "CPU capability chosen here": torch.backends.cpu.get_cpu_capability(),
    "BLAS": settings.get("BLAS_INFO", ""),
    "LAPACK": torch._C.has_lapack,
    "FFT": torch._C.has_spectral,
    "OpenMP": torch.backends.openmp.is_available(),
    "MKL": torch.backends.mkl.is_available(),
    "oneDNN": torch.backends.mkldnn.is_available(),
    "oneDNN version": next(filter(None, onednn.groups())) if onednn else "",
    "oneDNN with Arm Compute Library": torch.ops.mkldnn._is_mkldnn_acl_supported(),
    "NNPACK": torch.backends.nnpack.is_available(),
    "XNNPACK": torch.backends.xnnpack.enabled,
    "quantised engines": ", ".join(torch.backends.quantized.supported_engines),
    "distributed": distributed.is_available(),
    "gloo": distributed.is_gloo_available(),
    "MPI": distributed.is_mpi_available(),
    "RPC (tensorpipe)": distributed.rpc.is_available() and hasattr(torch._C._distributed_rpc, "TensorPipeAgent"),
    "profiler (kineto)": torch.profiler.kineto_available(),
    "ITT": torch.profiler.itt.is_available(),
    "NumPy": torch.zeros(1).numpy().shape == (1,),
    "CPU fuser (LLVM)": torch._C._llvm_enabled() if hasattr(torch._C, "_llvm_enabled") else False,
    **{f"setting {name}": value for name, value in sorted(settings.items()) if name.startswith("USE_")},
}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheels", type=Path, nargs="+")
    parser.add_argument("--target", default="neoverse-v1")
    asked = parser.parse_args()
    answers = [json.loads(answer) for answer in output_of(asked.wheels, asked.target, ASKED)]
    print("| | " + " | ".join(f"`{wheel.name}`" for wheel in asked.wheels) + " |")
    print("| --- " * (len(answers) + 1) + "|")
    for name in dict.fromkeys(name for answer in answers for name in answer):
        print(f"| {name} | " + " | ".join(_written(answer.get(name, "")) for answer in answers) + " |")
    return 0


def _written(value: object) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    sys.exit(main())
