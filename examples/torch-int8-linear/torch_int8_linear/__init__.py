"""A linear layer in int8 for inference: inputs quantised by row, weights by output, one pass over memory.

Products are summed exactly in 32 bits. What is lost is lost by rounding inputs and weights to 255 steps.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch

_found = find_spec("torch_int8_linear._C")
if _found is None or _found.origin is None:
    raise ImportError("torch_int8_linear was installed without its library")
torch.ops.load_library(_found.origin)

int8_linear = torch.ops.torch_int8_linear.int8_linear
kernel = torch.ops.torch_int8_linear.kernel
"""Which path this wheel was compiled with, such as ``SVE int8 matrix multiply``."""


def quantize_weight(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A float weight of ``[outputs, inputs]`` as int8, and the step of each output."""
    scale = weight.detach().abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny).float() / 127
    return torch.round(weight.detach() / scale[:, None]).clamp(-127, 127).to(torch.int8), scale


class Int8Linear(torch.nn.Module):
    """What ``torch.nn.Linear`` computes, with its weights in int8; ``relu`` cuts below zero in the same pass."""

    def __init__(self, linear: torch.nn.Linear, relu: bool = False) -> None:
        super().__init__()
        weight, scale = quantize_weight(linear.weight)
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return int8_linear(x, self.weight, self.scale, self.bias, self.relu)
