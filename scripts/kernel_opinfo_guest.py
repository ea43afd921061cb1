"""Runs in the emulated Python: holds operations that were taken over against PyTorch's own descriptions of them.

PyTorch's wheel has the descriptions (OpInfo, in torch.testing._internal), which give each operation its sample
inputs, its variants and its faulty calls. It lacks the tests that go through them (test/test_ops.py), so they are
here: each prints one JSON line with how often it was run and what failed, or why it was left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch_tuned_kernels as pack
from torch.testing._internal.common_methods_invocations import op_db

NAMES = (
    *("mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "matmul", "__rmatmul__", "inner", "dot"),
    *("nn.functional.linear", "nn.functional.bilinear", "nn.functional.scaled_dot_product_attention"),
    *("nn.functional.conv1d", "nn.functional.conv2d", "nn.functional.conv3d"),
    *("nn.functional.conv_transpose1d", "nn.functional.conv_transpose2d", "nn.functional.conv_transpose3d"),
    "nn.functional.max_pool2d",
    *("exp", "sigmoid", "tanh", "erf", "nn.functional.silu", "nn.functional.gelu"),
    *("softmax", "log_softmax", "nn.functional.softmin"),
)
TYPES = (torch.float32, torch.bfloat16, torch.float16)
# What torch.testing.assert_close allows for each type.
CLOSE = {torch.float32: (1.3e-6, 1e-5), torch.bfloat16: (1.6e-2, 1e-5), torch.float16: (1e-3, 1e-5)}

Check = Callable[[Any, torch.dtype], Iterator[str]]
"""Yields a text for each case: empty if it is right, else what is wrong."""


class LeftOut(Exception):  # noqa: N818 - an answer, not a fault
    """The reason why a check does not apply."""


def tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [one for one in value if isinstance(one, torch.Tensor)] if isinstance(value, tuple | list) else []


def doubled(sample: Any) -> Any:
    return sample.transform(
        lambda x: x.detach().double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
    )


def call(operation: Callable[..., Any], sample: Any) -> Any:
    return operation(sample.input, *sample.args, **sample.kwargs)


def apart(found: Any, exact: Any, stock: Any, dtype: torch.dtype) -> str:
    """What is wrong with a result: further from float64 than the type allows and than twice what PyTorch's is."""
    relative, absolute = CLOSE[dtype]
    for ours, right, theirs in zip(tensors(found), tensors(exact), tensors(stock), strict=True):
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype or ours.stride() != theirs.stride():
            return f"{ours.shape} {ours.dtype} {ours.stride()}, not {theirs.shape} {theirs.dtype} {theirs.stride()}"
        if not ours.dtype.is_floating_point:
            if not torch.equal(ours, theirs):
                return "whole numbers differ"
            continue
        if not torch.equal(ours.isnan(), theirs.isnan()):
            return "NaN differ"
        good = ~right.isnan() & right.abs().lt(torch.finfo(dtype).max)
        ours, right, theirs = ours.double()[good], right.double()[good], theirs.double()[good]
        if ours.numel() == 0:
            continue
        limit = absolute + relative * right.abs() + 2 * (theirs - right).abs().max()
        if not bool(((ours - right).abs() <= limit).all()):
            away, theirs_away = float((ours - right).abs().max()), float((theirs - right).abs().max())
            return f"apart by {away:.2e}, PyTorch's by {theirs_away:.2e}"
    return ""


def samples(info: Any, dtype: torch.dtype, *, gradients: bool = False) -> list[Any]:
    return list(info.sample_inputs("cpu", dtype, requires_grad=gradients))


def forward(info: Any, dtype: torch.dtype) -> Iterator[str]:
    for sample in samples(info, dtype):
        with pack.stock():
            stock = call(info, sample)
        yield apart(call(info, sample), call(info, doubled(sample)), stock, dtype)


def strided(info: Any, dtype: torch.dtype) -> Iterator[str]:
    for plain in samples(info, dtype):
        sample = plain.noncontiguous()
        with pack.stock():
            stock = call(info, sample)
        yield apart(call(info, sample), call(info, doubled(sample)), stock, dtype)


def out(info: Any, dtype: torch.dtype) -> Iterator[str]:
    """Results written to a tensor of the right size, to one with gaps, and to an empty one, which is resized."""
    if not info.supports_out:
        raise LeftOut("has no out=")

    def into(place: torch.Tensor, sample: Any) -> Any:
        return info(sample.input, *sample.args, **sample.kwargs, out=place)

    for sample in samples(info, dtype):
        exact, like = call(info, doubled(sample)), call(info, sample)
        if not isinstance(like, torch.Tensor):
            continue
        for shape in ("whole", "gaps", "empty"):
            places = []
            for _ in range(2):
                gaps = torch.zeros(*like.shape, 2, dtype=like.dtype)[..., 0]
                empty = torch.empty(0, dtype=like.dtype)
                places.append({"whole": torch.full_like(like, 7), "gaps": gaps, "empty": empty}[shape])
            with pack.stock():
                stock = into(places[0], sample)
            found = into(places[1], sample)
            same = found.data_ptr() == places[1].data_ptr()
            yield apart(found, exact, stock, dtype) if same else "the result is not in its place"


def in_place(info: Any, dtype: torch.dtype) -> Iterator[str]:
    if info.inplace_variant is None:
        raise LeftOut("has no variant in place")
    for sample in samples(info, dtype):
        if sample.broadcasts_input:
            continue
        exact, mine, theirs = call(info, doubled(sample)), sample.input.clone(), sample.input.clone()
        with pack.stock():
            stock = info.inplace_variant(theirs, *sample.args, **sample.kwargs)
        found = info.inplace_variant(mine, *sample.args, **sample.kwargs)
        yield apart(found, exact, stock, dtype) if found is mine else "the result is not in its place"


def gradients(info: Any, dtype: torch.dtype) -> Iterator[str]:
    if not info.supports_autograd or dtype not in info.supported_backward_dtypes("cpu"):
        raise LeftOut("has no gradient in this type")

    def of(sample: Any) -> list[torch.Tensor]:
        inputs = [x for x in (sample.input, *sample.args) if isinstance(x, torch.Tensor) and x.requires_grad]
        results = [x for x in tensors(call(info, sample)) if x.requires_grad]
        total = sum(
            (x * torch.arange(1, x.numel() + 1).reshape(x.shape).to(x.dtype) / x.numel()).sum()
            for x in results
        )
        return list(torch.autograd.grad(total, inputs, allow_unused=True)) if results and inputs else []  # type: ignore[arg-type]

    for sample in samples(info, dtype, gradients=True):
        with pack.stock():
            stock = of(sample)
        exact = of(
            sample.transform(
                lambda x: (
                    x.detach().double().requires_grad_(x.requires_grad)
                    if isinstance(x, torch.Tensor) and x.is_floating_point()
                    else x
                )
            )
        )
        found = of(sample)
        for one, right, theirs in zip(found, exact, stock, strict=True):
            if one is not None and theirs is not None:
                yield apart(one, right, theirs, dtype)


def errors(info: Any, dtype: torch.dtype) -> Iterator[str]:
    if dtype is not torch.float32:
        raise LeftOut("asked once, in float32")
    if info.error_inputs_func is None:
        raise LeftOut("describes no faulty calls")
    for faulty in info.error_inputs("cpu"):
        try:
            call(info, faulty.sample_input)
        except faulty.error_type:
            yield ""
        else:
            yield f"a faulty call passed: {faulty.error_regex}"


def negative_view(info: Any, dtype: torch.dtype) -> Iterator[str]:
    """An input that is negated when it is read (torch._neg_view)."""
    for sample in samples(info, dtype):
        if not isinstance(sample.input, torch.Tensor) or not sample.input.is_floating_point():
            continue
        negative = torch._neg_view(-sample.input)
        found = info(negative, *sample.args, **sample.kwargs)
        expected = call(info, sample)
        for one, other in zip(tensors(found), tensors(expected), strict=True):
            same = torch.allclose(one.double(), other.double(), *CLOSE[dtype], equal_nan=True)
            yield "" if same else "a negative view differs"


def supported(check: Check) -> Check:
    """The check, where PyTorch has the operation in the type."""

    def checked(info: Any, dtype: torch.dtype) -> Iterator[str]:
        if not info.supports_dtype(dtype, "cpu"):
            raise LeftOut("PyTorch has no such type for it")
        yield from check(info, dtype)

    return checked


CHECKS: tuple[Check, ...] = (forward, strided, out, in_place, gradients, errors, negative_view)


def main() -> None:
    torch.manual_seed(20)
    torch.set_num_threads(2)
    wanted = set(sys.argv[1:]) or set(NAMES)
    for info in op_db:
        if info.name not in wanted:
            continue
        for dtype in TYPES:
            for check in CHECKS:
                line: dict[str, Any] = {
                    "operation": f"{info.name}{'.' + info.variant_test_name if info.variant_test_name else ''}",
                    "type": str(dtype).removeprefix("torch."),
                    "check": check.__name__,
                }
                try:
                    texts = list(supported(check)(info, dtype))
                    failed = [text for text in texts if text]
                    line |= {"run": len(texts), "failed": len(failed), "faults": failed[:2]}
                except LeftOut as reason:
                    line["left_out"] = str(reason)
                except Exception as error:
                    line |= {"run": 1, "failed": 1, "faults": [f"{type(error).__name__}: {str(error)[:200]}"]}
                print(json.dumps(line), flush=True)
    print(
        json.dumps({"taken_over": pack.taken_over(), "calls": {n: pack.calls(n) for n in pack.taken_over()}})
    )


if __name__ == "__main__":
    main()
