"""Runs inside the emulated environment: does the extension agree with PyTorch's own operations?

Quantised as the extension does it but step by step, by PyTorch itself, results must be the same but for the last
rounding; against the layer in float32 they must be as near as int8 allows. One JSON line a check.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from kit import Result, report

# Depths around every vector length, edges of every tile, and one large enough for two threads.
SHAPES = (
    (1, 1, 1),
    (1, 7, 3),
    (2, 8, 4),
    (3, 16, 5),
    (5, 31, 6),
    (7, 129, 13),
    (33, 515, 70),
    (64, 512, 256),
)


def by_steps(torch: Any, x: Any, weight: Any, scale: Any, bias: Any, relu: bool) -> Any:
    """The same in PyTorch's own operations; the product is whole numbers in int32, and so exact."""
    step = x.abs().amax(dim=1) / 127
    inverse = torch.where(step > 0, 1 / step, torch.zeros_like(step))
    whole = torch.round(x * inverse[:, None]).clamp(-127, 127)
    product = whole.to(torch.int32) @ weight.to(torch.int32).t()
    y = product.float() * (step[:, None] * scale[None, :])
    y = y if bias is None else y + bias
    return torch.relu(y) if relu else y


def apart(found: Any, expected: Any) -> float:
    """The largest difference, in parts of the largest value expected."""
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


def check_import(torch: Any, extension: Any) -> Result:
    abi = torch.compiled_with_cxx11_abi()
    detail = f"torch {torch.__version__}, C++11 ABI {'on' if abi else 'off'}; kernel: {extension.kernel()}"
    return torch.__version__.split("+")[0] == "2.6.0" and bool(extension.kernel()), detail


def check_agreement(torch: Any, extension: Any) -> Result:
    worst = 0.0
    for m, k, n in SHAPES:
        x, bias = torch.randn(m, k), torch.randn(n)
        weight, scale = extension.quantize_weight(torch.randn(n, k))
        for offset, relu in ((None, False), (bias, True)):
            found = extension.int8_linear(x, weight, scale, offset, relu)
            worst = max(worst, apart(found, by_steps(torch, x, weight, scale, offset, relu)))
    return worst < 1e-6, f"{len(SHAPES)} shapes with and without bias and relu, apart by {worst:.1e} at most"


def check_extremes(torch: Any, extension: Any) -> Result:
    """The largest sums there are, a row of zeros, a row with NaN; whole numbers come out exact."""
    depth = 1000
    x = torch.full((4, depth), 127.0)
    x[1], x[2], x[3, 5] = -127.0, 0.0, float("nan")
    weight = torch.full((3, depth), 127, dtype=torch.int8)
    weight[1] = -127
    y = extension.int8_linear(x, weight, torch.ones(3))
    most = 127.0 * 127.0 * depth
    expected = torch.tensor([[most, -most, most], [-most, most, -most], [0.0, 0.0, 0.0]])
    good = torch.equal(y[:3], expected) and bool(y[3].isnan().all())
    return good, "sums of 16,129,000 exact, zeros stay zeros, NaN stays NaN" if good else str(y.tolist())


def check_layer(torch: Any, extension: Any) -> Result:
    linear = torch.nn.Linear(256, 96)
    x = torch.randn(2, 9, 256)
    with torch.inference_mode():
        away = apart(extension.Int8Linear(linear, relu=True)(x), torch.relu(linear(x)))
    return (
        away < 0.02,
        f"a layer of 256 to 96 in float32 and in int8: apart by {away:.1%} of the largest value",
    )


def check_threads(torch: Any, extension: Any) -> Result:
    """PyTorch's own threads do the work, so the number set there holds, and changes no result."""
    with open("/proc/self/maps") as maps:  # noqa: PTH123 - no file to speak of
        runtimes = {line.split()[-1] for line in maps if "libgomp" in line}
    x = torch.randn(64, 512)
    weight, scale = extension.quantize_weight(torch.randn(256, 512))
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(extension.int8_linear(x, weight, scale))
    agree = torch.equal(*results)
    said = "agree" if agree else "differ"
    return agree and len(runtimes) == 1, f"{len(runtimes)} OpenMP runtime; one thread and two {said}"


def check_shapes(torch: Any, extension: Any) -> Result:
    """What torch.compile asks (the meta device), and what is refused."""
    weight, scale = extension.quantize_weight(torch.randn(6, 8))
    meta = extension.int8_linear(torch.empty(2, 3, 8, device="meta"), weight.to("meta"), scale.to("meta"))
    empty = extension.int8_linear(torch.empty(0, 8), weight, scale)
    refused = 0
    for arguments in (
        (torch.randn(2, 9), weight, scale),
        (torch.randn(2, 8).double(), weight, scale),
        (torch.randn(2, 8), weight.float(), scale),
        (torch.randn(2, 8), weight, scale[:5]),
        (torch.randn(2, 8), weight, scale, torch.randn(5)),
    ):
        try:
            extension.int8_linear(*arguments)
        except RuntimeError:
            refused += 1
    good = meta.shape == (2, 3, 6) and empty.shape == (0, 6) and refused == 5
    return good, f"shapes {tuple(meta.shape)} and {tuple(empty.shape)}; {refused} of 5 faulty calls refused"


def main() -> None:
    import torch
    import torch_int8_linear as extension

    torch.manual_seed(20)
    checks: tuple[Callable[[Any, Any], Result], ...] = (
        check_import,
        check_agreement,
        check_extremes,
        check_layer,
        check_threads,
        check_shapes,
    )
    report({check.__name__.removeprefix("check_"): partial(check, torch, extension) for check in checks})


if __name__ == "__main__":
    main()
