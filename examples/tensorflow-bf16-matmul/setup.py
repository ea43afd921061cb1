"""Says what is compiled and linked; where TensorFlow's headers and library lie, CPPFLAGS and LDFLAGS say.

Armwheels sets both when it builds for another CPU. On an Arm machine that has TensorFlow installed:

    tensorflow=$(python -c 'import tensorflow; print(tensorflow.__path__[0])')
    CPPFLAGS="-I$tensorflow/include" LDFLAGS="-L$tensorflow" pip install --no-build-isolation .
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "tensorflow_bf16_matmul._C",
            sources=["tensorflow_bf16_matmul/op.cpp"],
            depends=["tensorflow_bf16_matmul/kernel.h"],
            libraries=[":libtensorflow_framework.so.2"],
            # Alignment as tf.sysconfig.get_compile_flags() says. Eigen's own bfloat16 wants lax conversions of GCC.
            define_macros=[("EIGEN_MAX_ALIGN_BYTES", "64"), ("NDEBUG", None)],
            extra_compile_args=["-std=c++17", "-O3", "-flax-vector-conversions", "-fvisibility=hidden"],
            language="c++",
        )
    ]
)
