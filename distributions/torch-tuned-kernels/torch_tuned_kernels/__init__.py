"""Kernels for Arm server CPUs in the place of slow ones of PyTorch. `import torch` loads them.

``TORCH_TUNED_KERNELS=0`` in the environment leaves PyTorch as it is.
"""

from __future__ import annotations

# First, and alone: at its end PyTorch calls `_autoload`, while this file has come no further than here.
import torch as _torch  # noqa: F401 - see above

from torch_tuned_kernels._pack import calls, compiled_to, give_back, stock, take_over, taken_over, why_not

__all__ = ["calls", "compiled_to", "give_back", "stock", "take_over", "taken_over", "why_not"]
