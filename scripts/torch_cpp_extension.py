"""Build and run an extension of a torch wheel with torch.utils.cpp_extension and the cross compiler.

    .venv/bin/python -m scripts.torch_cpp_extension WHEEL

torch runs under emulation and calls a compiler by name, as on an Arm machine. That name runs this machine's cross
compiler. The exit code is 0 if the extension was built and loaded, and returns the right result.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from builder.commands.project import Project
from builder.compile.layout import build_environment
from builder.compile.wrappers import write_wrappers
from builder.emulation.emulate import stand_in
from builder.emulation.environment import EmulatedPython, install_requirements, write_bytecode
from builder.locks import requirements_lock
from builder.plan import make_build

PYTHON = "cp311"

USES = '''
import sys
import torch
from torch.utils import cpp_extension

source = """
#include <torch/extension.h>

torch::Tensor squared_sum(const torch::Tensor& x) {
  auto values = x.contiguous();
  const float* data = values.data_ptr<float>();
  double sum = 0;
  for (int64_t i = 0; i < values.numel(); i++) sum += data[i] * data[i];
  return torch::scalar_tensor(sum, torch::kFloat64);
}
"""
print("torch", torch.__version__, "C++11 ABI", torch.compiled_with_cxx11_abi())
built = cpp_extension.load_inline(
    "armwheels_extension", source, functions=["squared_sum"], build_directory=sys.argv[1], verbose=True,
    extra_cflags=["-O2"], extra_include_paths=[sys.argv[2]],
)
x = torch.arange(100, dtype=torch.float32)
found = built.squared_sum(x).item()
print("squared_sum of 0 to 99:", found, built.__file__)
try:
    built.squared_sum(torch.arange(3))
except RuntimeError as error:
    print("int64 refused by a C++ exception:", str(error).splitlines()[0])
else:
    sys.exit("an exception did not come through")
sys.exit(found != 328350)
'''


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path, help="a torch wheel for cp311")
    parser.add_argument("--target", default="neoverse-v1", help="the CPU to build and run for")
    asked = parser.parse_args()
    project = Project()
    build = make_build(
        project.recipes["pytorch"],
        version=next(iter(project.recipes["pytorch"].versions)),
        python=PYTHON,
        target=asked.target,
        backend="openblas",
        required=False,
        targets=project.targets,
        ingredients=project.ingredients,
    )
    emulated = EmulatedPython.standing_in(project.toolbox, PYTHON, stand_in(project.targets[asked.target]))
    beside = install_requirements(project.toolbox, requirements_lock("pytorch", "tests", PYTHON), PYTHON)
    headers = project.toolbox.python_headers(PYTHON) / "usr/include"
    with tempfile.TemporaryDirectory(dir=project.toolbox.home / "tmp") as scratch:
        folder = Path(scratch)
        commands = write_wrappers(build, project.toolbox, folder / "bin")
        (folder / "extension").mkdir()
        environment = emulated.create_environment(folder / "env")
        install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(asked.wheel.resolve())]
        done = emulated.run(install, environment=environment, timeout=1800)
        if done.returncode:
            print(done.stderr.strip(), file=sys.stderr)
            return 1
        write_bytecode(project.toolbox, PYTHON, *environment.glob("lib/python3*/site-packages"))
        tools = build_environment(build, project.toolbox) / "bin"
        uses = [str(folder / "extension"), str(headers / "python3.11")]
        return subprocess.run(
            emulated.command(["-c", USES, *uses], environment=environment),
            env=emulated.variables(
                {
                    "PYTHONPATH": str(beside),
                    "CXX": str(commands.cxx),
                    "CPATH": str(headers),
                    "PATH": f"{tools}:/usr/bin:/bin",
                    "HOME": str(folder),
                }
            ),
            cwd=folder,
            timeout=1800,
            check=False,
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
