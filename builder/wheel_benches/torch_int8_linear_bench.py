"""The int8 layer beside what PyTorch itself offers for the same layer: in float32, quantised, and step by step."""

from collections.abc import Callable
from typing import Any

from kit import Run, Unavailable, Workload, main

DEPTH, WIDTH = 512, 512


def _layer(rows: int, make: Callable[[Any, Any], Callable[[Any], object]]) -> Callable[[], Run]:
    """A layer of 512 to 512 made into another by ``make``, on so many rows."""

    def prepare() -> Run:
        import torch

        torch.manual_seed(7)
        layer, x = make(torch, torch.nn.Linear(DEPTH, WIDTH)), torch.randn(rows, DEPTH)

        def run() -> object:
            with torch.inference_mode():
                return layer(x)

        return run

    return prepare


def _fused(_: Any, linear: Any) -> Callable[[Any], object]:
    import torch_int8_linear

    layer: Callable[[Any], object] = torch_int8_linear.Int8Linear(linear, relu=True)
    return layer


def _float32(torch: Any, linear: Any) -> Callable[[Any], object]:
    return lambda x: torch.relu(linear(x))


def _dynamic(torch: Any, linear: Any) -> Callable[[Any], object]:
    if torch.backends.quantized.engine == "none":
        raise Unavailable("built without a quantized engine")
    layer = torch.nn.Sequential(linear, torch.nn.ReLU())
    made: Callable[[Any], object] = torch.ao.quantization.quantize_dynamic(
        layer, {torch.nn.Linear}, dtype=torch.qint8
    )
    return made


def _by_steps(torch: Any, linear: Any) -> Callable[[Any], object]:
    """What the extension fuses, in PyTorch's own operations."""
    import torch_int8_linear

    weight, scale = torch_int8_linear.quantize_weight(linear.weight)
    transposed = weight.t().contiguous()

    def run(x: Any) -> object:
        step = x.abs().amax(dim=1, keepdim=True) / 127
        whole = torch.round(x / step).to(torch.int8)
        return torch.relu(torch._int_mm(whole, transposed).float() * (step * scale) + linear.bias)

    return run


WORKLOADS = (
    Workload("int8-linear", "this extension: 128 rows, 512 to 512, relu", _layer(128, _fused)),
    Workload("float32", "torch.nn.Linear and relu, the same size", _layer(128, _float32)),
    Workload("quantize-dynamic", "what quantize_dynamic makes of it", _layer(128, _dynamic)),
    Workload("by-steps", "rounded, torch._int_mm, scaled, relu: five operations", _layer(128, _by_steps)),
    Workload("int8-linear-row", "this extension: one row", _layer(1, _fused)),
    Workload("float32-row", "torch.nn.Linear and relu: one row", _layer(1, _float32)),
)

if __name__ == "__main__":
    main("torch_int8_linear", WORKLOADS)
