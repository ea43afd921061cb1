"""Says what is compiled and linked; where PyTorch's headers and libraries lie, CPPFLAGS and LDFLAGS say.

Armwheels sets both, and compiles `kernels` for the CPU and `glue` for any. On an Arm machine that has PyTorch:

    torch=$(python -c 'import torch; print(torch.__path__[0])')
    CFLAGS=-mcpu=native CPPFLAGS="-I$torch/include" LDFLAGS="-L$torch/lib" pip install --no-build-isolation .
"""

from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).parent
PACKAGE = Path("torch_tuned_kernels")

setup(
    ext_modules=[
        Extension(
            "torch_tuned_kernels._C",
            sources=sorted(str(path.relative_to(HERE)) for path in (HERE / PACKAGE).glob("*/*.cpp")),
            depends=sorted(str(path.relative_to(HERE)) for path in (HERE / PACKAGE).glob("*/*.h")),
            include_dirs=[str(PACKAGE)],
            libraries=["torch_cpu", "c10"],
            # OpenMP is compiled for but not linked: PyTorch has brought it, and a second copy would have threads of
            # its own. Products and sums may not be contracted or reordered beyond what the kernels say.
            extra_compile_args=["-std=c++17", "-O3", "-fopenmp", "-fvisibility=hidden", "-ffp-contract=off"],
            language="c++",
        )
    ]
)
