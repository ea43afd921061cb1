"""PyTorch's workloads, without gradients but for one. Inputs come from one seed, weights from the layers' own."""

from collections.abc import Callable
from typing import Any

from kit import Run, Unavailable, Workload, main


def _torch() -> Any:
    import torch

    torch.manual_seed(7)
    return torch


def _quiet(run: Run) -> Run:
    """The same without recording for gradients, as inference runs."""
    torch = _torch()

    def quiet() -> object:
        with torch.inference_mode():
            return run()

    return quiet


def _gemm(size: int, dtype: str) -> Callable[[], Run]:
    def prepare() -> Run:
        torch = _torch()
        a, b = (torch.randn(size, size).to(getattr(torch, dtype)) for _ in range(2))
        return _quiet(lambda: a @ b)

    return prepare


def _linear_int8() -> Run:
    """Weights in int8, activations quantised as they come: what `quantize_dynamic` gives."""
    torch = _torch()
    engines = [name for name in torch.backends.quantized.supported_engines if name != "none"]
    if not engines:
        raise Unavailable("built without a quantized engine")
    if torch.backends.quantized.engine == "none":
        torch.backends.quantized.engine = engines[0]
    layer = torch.nn.Sequential(torch.nn.Linear(512, 512))
    layer = torch.ao.quantization.quantize_dynamic(layer, {torch.nn.Linear}, dtype=torch.qint8)
    x = torch.randn(128, 512)
    return _quiet(lambda: layer(x))


def _int_mm() -> Run:
    torch = _torch()
    if not hasattr(torch, "_int_mm"):
        raise Unavailable("this version has no torch._int_mm")
    a, b = (torch.randint(-64, 64, (256, 256), dtype=torch.int8) for _ in range(2))
    return _quiet(lambda: torch._int_mm(a, b))


def _conv2d(dtype: str, groups: int) -> Callable[[], Run]:
    def prepare() -> Run:
        torch = _torch()
        layer = torch.nn.Conv2d(64, 64, 3, padding=1, groups=groups).to(getattr(torch, dtype))
        x = torch.randn(1, 64, 28, 28).to(getattr(torch, dtype))
        return _quiet(lambda: layer(x))

    return prepare


def _on_rows(make: Callable[[Any], Callable[[Any], object]], *shape: int) -> Callable[[], Run]:
    """A function of one tensor, on random values of ``shape``."""

    def prepare() -> Run:
        torch = _torch()
        function, x = make(torch), torch.randn(*shape)
        return _quiet(lambda: function(x))

    return prepare


def _attention() -> Run:
    torch = _torch()
    q, k, v = (torch.randn(1, 8, 128, 64) for _ in range(3))
    return _quiet(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v))


def _training_step() -> Run:
    torch = _torch()
    model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    x, y = torch.randn(64, 256), torch.randint(0, 10, (64,))

    def run() -> None:
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()

    return run


def _small_tensors() -> Run:
    torch = _torch()
    a, b = torch.ones(3), torch.ones(3)

    def run() -> None:
        for _ in range(1000):
            a + b

    return _quiet(run)


WORKLOADS = (
    Workload("gemm-fp32", "matrix product, 384 x 384 x 384", _gemm(384, "float32")),
    Workload("gemm-bf16", "the same in bfloat16", _gemm(384, "bfloat16")),
    Workload("gemm-int8", "torch._int_mm, 256 x 256 x 256", _int_mm),
    Workload("linear-int8", "dynamically quantized linear layer, 128 x 512 to 512", _linear_int8),
    Workload("conv2d-fp32", "3 x 3 convolution, 64 to 64 channels, 28 x 28", _conv2d("float32", 1)),
    Workload("conv2d-bf16", "the same in bfloat16", _conv2d("bfloat16", 1)),
    Workload("depthwise-fp32", "3 x 3 depthwise convolution, 64 channels, 28 x 28", _conv2d("float32", 64)),
    Workload("softmax", "softmax over 256 rows of 1,024", _on_rows(lambda t: t.nn.Softmax(-1), 256, 1024)),
    Workload("layer-norm", "over 256 rows of 768", _on_rows(lambda t: t.nn.LayerNorm(768), 256, 768)),
    Workload("gelu", "gelu, 196,608 values", _on_rows(lambda t: t.nn.GELU(), 256, 768)),
    Workload("sum", "sum, 262,144 values", _on_rows(lambda t: t.sum, 512, 512)),
    Workload("attention", "8 heads, 128 tokens of 64, no mask", _attention),
    Workload("training-step", "two linear layers with gradients, batch of 64", _training_step),
    Workload("small-tensors", "1,000 sums of tensors of 3: the cost of a call", _small_tensors),
)

if __name__ == "__main__":
    main("torch", WORKLOADS)
