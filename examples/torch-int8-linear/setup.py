"""Says what is compiled and linked; where PyTorch's headers and libraries lie, CPPFLAGS and LDFLAGS say.

Armwheels sets both when it builds for another CPU. On an Arm machine that has PyTorch installed:

    torch=$(python -c 'import torch; print(torch.__path__[0])')
    CPPFLAGS="-I$torch/include" LDFLAGS="-L$torch/lib" pip install --no-build-isolation .
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "torch_int8_linear._C",
            sources=["torch_int8_linear/op.cpp"],
            depends=["torch_int8_linear/kernel.h"],
            libraries=["torch_cpu", "c10"],
            # At -O2 GCC 12 makes no SVE of plain loops. OpenMP is compiled for but not linked: PyTorch has
            # brought it, and a second copy would have threads of its own.
            extra_compile_args=["-std=c++17", "-O3", "-fopenmp", "-fvisibility=hidden"],
            language="c++",
        )
    ]
)
