"""PyTorch with its own kernels and with ours, in one process: each workload comes as `-stock` and as `-ours`."""

from collections.abc import Callable
from typing import Any

from kit import Run, Unavailable, Workload, main

Make = Callable[[Any], Callable[[], object]]
TYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}


def _random(torch: Any, dtype: str, *shape: int) -> Any:
    return torch.randn(*shape).to(getattr(torch, TYPES[dtype]))


def _linear(rows: int, dtype: str, depth: int = 1024, width: int = 1024) -> Make:
    def make(torch: Any) -> Callable[[], object]:
        layer = torch.nn.Linear(depth, width).to(getattr(torch, TYPES[dtype]))
        x = _random(torch, dtype, rows, depth)
        return lambda: layer(x)

    return make


def _mm(dtype: str, m: int, k: int, n: int) -> Make:
    def make(torch: Any) -> Callable[[], object]:
        a, b = _random(torch, dtype, m, k), _random(torch, dtype, k, n)
        return lambda: torch.mm(a, b)

    return make


def _bmm(dtype: str) -> Make:
    def make(torch: Any) -> Callable[[], object]:
        a, b = _random(torch, dtype, 8, 1, 64), _random(torch, dtype, 8, 64, 512)
        return lambda: torch.bmm(a, b)

    return make


def _mv(dtype: str) -> Make:
    def make(torch: Any) -> Callable[[], object]:
        a, x = _random(torch, dtype, 1024, 1024), _random(torch, dtype, 1024)
        return lambda: torch.mv(a, x)

    return make


def _int_mm(m: int, k: int, n: int) -> Make:
    def make(torch: Any) -> Callable[[], object]:
        a, b = (torch.randint(-64, 64, shape, dtype=torch.int8) for shape in ((m, k), (k, n)))
        return lambda: torch._int_mm(a, b)

    return make


def _attention(dtype: str, tokens: int) -> Make:
    def make(torch: Any) -> Callable[[], object]:
        q = _random(torch, dtype, 1, 8, tokens, 64)
        k, v = (_random(torch, dtype, 1, 8, 128, 64) for _ in range(2))
        return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v)

    return make


def _of_rows(function: Callable[[Any, Any], object], dtype: str, *shape: int) -> Make:
    def make(torch: Any) -> Callable[[], object]:
        x = _random(torch, dtype, *shape)
        return lambda: function(torch, x)

    return make


def _conv(dtype: str, channels: int, groups: int, size: int, kernel: int = 3) -> Make:
    def make(torch: Any) -> Callable[[], object]:
        layer = torch.nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=groups)
        layer = layer.to(getattr(torch, TYPES[dtype]))
        x = _random(torch, dtype, 1, channels, size, size)
        return lambda: layer(x)

    return make


def _conv_transposed(dtype: str) -> Make:
    def make(torch: Any) -> Callable[[], object]:
        layer = torch.nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1).to(getattr(torch, TYPES[dtype]))
        x = _random(torch, dtype, 1, 32, 14, 14)
        return lambda: layer(x)

    return make


def _conv_backward(dtype: str) -> Make:
    def make(torch: Any) -> Callable[[], object]:
        x, weight = _random(torch, dtype, 1, 32, 28, 28), _random(torch, dtype, 32, 32, 3, 3)
        backward, sides = torch.ops.aten.convolution_backward, ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
        return lambda: backward(x, x, weight, [32], *sides, [True, True, True])

    return make


def _conv3d(dtype: str) -> Make:
    def make(torch: Any) -> Callable[[], object]:
        layer = torch.nn.Conv3d(16, 16, 3, padding=1).to(getattr(torch, TYPES[dtype]))
        x = _random(torch, dtype, 1, 16, 8, 14, 14)
        return lambda: layer(x)

    return make


def _decoder(dtype: str, tokens: int) -> Make:
    """One block of a decoder: width 512, 8 heads, feed-forward of 2048, 128 tokens in the cache."""

    def make(torch: Any) -> Callable[[], object]:
        nn, f = torch.nn, torch.nn.functional
        parts = (
            *(nn.LayerNorm(512), nn.Linear(512, 1536), nn.Linear(512, 512), nn.LayerNorm(512)),
            *(nn.Linear(512, 2048), nn.Linear(2048, 512)),
        )
        norm, qkv, out, norm2, up, down = (part.to(getattr(torch, TYPES[dtype])) for part in parts)
        x = _random(torch, dtype, tokens, 512)
        keys, values = (_random(torch, dtype, 8, 128, 64) for _ in range(2))

        def run() -> object:
            q, k, v = (one.view(tokens, 8, 64).transpose(0, 1) for one in qkv(norm(x)).chunk(3, -1))
            k, v = torch.cat((keys, k), 1), torch.cat((values, v), 1)
            seen = f.scaled_dot_product_attention(q[None], k[None], v[None])[0]
            y = x + out(seen.transpose(0, 1).reshape(tokens, 512))
            return y + down(f.silu(up(norm2(y))))

        return run

    return make


def _small(torch: Any) -> Callable[[], object]:
    layer, x = torch.nn.Linear(8, 8), torch.randn(2, 8)

    def run() -> None:
        for _ in range(100):
            layer(x)

    return run


MAKES: dict[str, tuple[str, Make]] = {
    "small": ("100 linear layers of 8 to 8 in float32: what the way through costs", _small),
    "int_mm": ("torch._int_mm, 192 x 192 x 192", _int_mm(192, 192, 192)),
    "int_mm-row": ("torch._int_mm, 1 x 1024 x 1024", _int_mm(1, 1024, 1024)),
}
for _type in ("f32", "bf16", "f16"):
    for _rows in (1, 2, 4, 8, 16, 32):
        MAKES[f"linear{_rows}-{_type}"] = (
            f"linear layer of 1024 to 1024, {_rows} rows, {_type}",
            _linear(_rows, _type),
        )
    MAKES[f"mm-{_type}"] = (f"matrix product, 256 x 256 x 256, {_type}", _mm(_type, 256, 256, 256))
    MAKES[f"mv-{_type}"] = (f"matrix times vector, 1024 x 1024, {_type}", _mv(_type))
    MAKES[f"bmm-{_type}"] = (f"8 products of 1 x 64 by 64 x 512, {_type}", _bmm(_type))
    MAKES[f"sdpa-{_type}"] = (f"attention, 8 heads, 128 tokens of 64, {_type}", _attention(_type, 128))
    MAKES[f"sdpa1-{_type}"] = (f"the same for one token, {_type}", _attention(_type, 1))
    MAKES[f"softmax-{_type}"] = (
        f"softmax, 64 rows of 1,024, {_type}",
        _of_rows(lambda t, x: t.softmax(x, -1), _type, 64, 1024),
    )
    for _name in ("exp", "sigmoid", "tanh", "erf"):
        MAKES[f"{_name}-{_type}"] = (
            f"{_name} of 65,536 values, {_type}",
            _of_rows(lambda t, x, name=_name: getattr(t, name)(x), _type, 64, 1024),  # type: ignore[misc]
        )
    for _name in ("silu", "gelu"):
        MAKES[f"{_name}-{_type}"] = (
            f"{_name} of 65,536 values, {_type}",
            _of_rows(lambda t, x, name=_name: getattr(t.nn.functional, name)(x), _type, 64, 1024),  # type: ignore[misc]
        )
    MAKES[f"maxpool-{_type}"] = (
        f"max pooling 3 x 3, stride 2, 64 channels of 56 x 56, {_type}",
        _of_rows(lambda t, x: t.nn.functional.max_pool2d(x, 3, 2, 1), _type, 1, 64, 56, 56),
    )
    MAKES[f"conv-{_type}"] = (f"convolution 3 x 3, 32 channels, 28 x 28, {_type}", _conv(_type, 32, 1, 28))
    MAKES[f"pointwise-{_type}"] = (
        f"convolution 1 x 1, 64 channels, 28 x 28, {_type}",
        _conv(_type, 64, 1, 28, 1),
    )
    MAKES[f"grouped-{_type}"] = (
        f"convolution 3 x 3, 64 channels in 4 groups, 14 x 14, {_type}",
        _conv(_type, 64, 4, 14),
    )
    MAKES[f"depthwise-{_type}"] = (
        f"depthwise convolution, 64 channels, 28 x 28, {_type}",
        _conv(_type, 64, 64, 28),
    )
    MAKES[f"transposed-{_type}"] = (
        f"transposed convolution 4 x 4, stride 2, 32 channels, 14 x 14, {_type}",
        _conv_transposed(_type),
    )
    MAKES[f"convgrad-{_type}"] = (
        f"gradients of a convolution 3 x 3, 32 channels, 28 x 28, {_type}",
        _conv_backward(_type),
    )
    MAKES[f"conv3d-{_type}"] = (
        f"convolution 3 x 3 x 3, 16 channels, 8 x 14 x 14, {_type}",
        _conv3d(_type),
    )
    for _tokens in (1, 32):
        MAKES[f"decoder{_tokens}-{_type}"] = (
            f"decoder block of 512 with 128 tokens cached, {_tokens} tokens, {_type}",
            _decoder(_type, _tokens),
        )


def _workload(make: Make, ours: bool) -> Callable[[], Run]:
    def prepare() -> Run:
        import torch
        import torch_tuned_kernels as pack

        torch.set_num_threads(1)
        torch.manual_seed(7)
        if ours and not pack.take_over():
            raise Unavailable(pack.why_not())
        if not ours:
            pack.give_back()
        # One of the first products in bf16 may make this version switch oneDNN off for the rest of the process.
        torch.backends.mkldnn.set_flags(True)
        run = make(torch)

        def quiet() -> object:
            with torch.inference_mode():
                return run()

        return quiet

    return prepare


WORKLOADS = tuple(
    Workload(
        f"{name}-{'ours' if ours else 'stock'}",
        f"{about}, {'ours' if ours else 'stock'}",
        _workload(make, ours),
    )
    for name, (about, make) in MAKES.items()
    for ours in (False, True)
)

if __name__ == "__main__":
    main("torch_tuned_kernels", WORKLOADS)
