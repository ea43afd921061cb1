"""Four libraries: products and convolutions, in float32 and in float16, each with an Eigen of its own.

The recipe says what the CPU is like: `EIGEN_CACHES` are its caches in bytes, `VECTOR_BITS` is the length of its SVE
vectors. The files of TensorFlow that the units include lie in this folder: the recipe takes them from its tarball.
"""

import os
from pathlib import Path

from setuptools import Extension, setup

PACKAGE = Path("tensorflow_tuned_kernels")
CACHES = os.environ.get("EIGEN_CACHES", "").split()
BITS = int(os.environ.get("VECTOR_BITS", "0"))

# Eigen has SVE for float32 alone, and for one length of vectors; 128 bits are no more than Advanced SIMD has.
FIXED = [f"-msve-vector-bits={BITS}", "-DEIGEN_ARM64_USE_SVE"] if BITS > 128 else []


def library(units: str, columns: int, flags: list[str], mark: str = "") -> Extension:
    """One library. With Advanced SIMD, Eigen's tile is `columns` wide; convolutions are written for four."""
    defined = {
        "EIGEN_NEON_GEBP_NR": str(columns),  # as in TensorFlow's own build (core/kernels/BUILD)
        "EIGEN_MAX_ALIGN_BYTES": "64",  # as tf.sysconfig.get_compile_flags() says
        "NDEBUG": "",
        **{f"EIGEN_DEFAULT_L{level}_CACHE_SIZE": size for level, size in enumerate(CACHES, start=1)},
    }
    return Extension(
        f"{PACKAGE}._{units}{mark}",
        sources=[str(PACKAGE / "calls.cpp"), *map(str, sorted((PACKAGE / units).glob("*.cpp")))],
        depends=[str(PACKAGE / "take_over.h"), str(PACKAGE / "eigen_sve.h")],
        include_dirs=[".", str(PACKAGE)],
        libraries=[":libtensorflow_cc.so.2", ":libtensorflow_framework.so.2"],
        define_macros=list(defined.items()),
        # Eigen's half wants lax conversions of GCC. Hidden, since the framework has kernels of the same names.
        extra_compile_args=["-std=c++17", "-O2", "-flax-vector-conversions", "-fvisibility=hidden", *flags],
        language="c++",
    )


# The name says for which vectors it is; the package looks before it loads.
mark = f"_sve{BITS}" if FIXED else ""
setup(
    ext_modules=[
        library("float32_products", 8, FIXED, mark),
        library("float32_convolutions", 4, FIXED, mark),
        library("float16_products", 8, []),
        library("float16_convolutions", 4, []),
    ]
)
