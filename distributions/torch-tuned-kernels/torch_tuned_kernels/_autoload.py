"""What `import torch` calls at its end (entry point of the group ``torch.backends``)."""

from __future__ import annotations


def autoload() -> None:
    """Take over, unless ``TORCH_TUNED_KERNELS=0`` says not to or this CPU lacks what the kernels need."""
    from torch_tuned_kernels import _pack  # it imports torch, which must have called this first

    _pack.start()
