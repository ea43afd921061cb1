"""Runs inside the emulated environment: are the kernels that were taken over right, and is the rest left alone?

Every result is held against float64, element by element, within a stated bound; a counter in the library must show
that our kernel ran, or that it did not. One JSON line a check.
"""

import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from ctypes import CDLL
from functools import partial
from pathlib import Path
from typing import Any

from kit import Result, report

# Of each type: half the distance of neighbours, relative (unit roundoff), and that of its smallest values.
ROUNDOFF = {
    "bfloat16": (2.0**-8, 2.0**-134),
    "float16": (2.0**-11, 2.0**-25),
    "float32": (2.0**-24, 2.0**-150),
}
HALVES = ("bfloat16", "float16")
POOL = "max_pool2d_with_indices"
# Rows, depth, columns: around every vector length, edges of every tile, both sides few, one for threads.
FEW = (
    (1, 1, 1),
    (1, 7, 3),
    (1, 64, 9),
    (1, 129, 65),
    (1, 256, 130),
    (2, 33, 17),
    (3, 40, 70),
    (4, 515, 100),
    (70, 31, 1),
    (129, 65, 2),
    (100, 24, 4),
    (1, 1024, 512),
    (8, 130, 33),
)
# Errors that the kernels may make in fp32, in units of the last place of the exact value.
ULPS = {"exp": 3, "sigmoid": 4, "tanh": 3, "erf": 2, "silu": 4}
INT8 = ((1, 1, 1), (1, 9, 5), (3, 16, 17), (8, 64, 16), (13, 100, 40), (65, 33, 130), (40, 2500, 24))


def layouts(torch: Any, x: Any) -> Iterator[tuple[str, Any]]:
    """The same values laid out in every way that a product distinguishes."""
    yield "rows", x.contiguous()
    yield "columns", x.mT.contiguous().mT
    wide = torch.empty(*x.shape[:-1], x.shape[-1] + 3, dtype=x.dtype)
    wide[..., : x.shape[-1]] = x
    yield "part of a wider one", wide[..., : x.shape[-1]]


class Checks:
    """The checks, with the modules they are about."""

    def __init__(self, torch: Any, pack: Any, said: str, first: int) -> None:
        self.torch, self.pack, self.said, self.first = torch, pack, said, first

    def _bound(self, exact: Any, size: Any, depth: int, dtype: str) -> Any:
        """How far a sum of ``depth`` products may be from ``exact``: rounded once, and added up in fp32.

        ``size`` is the sum of the products' absolute values. A sum of n terms in precision u is within n u of it
        (Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 4.2).
        """
        relative, least = ROUNDOFF[dtype]
        summed = (depth + 4) * 2.0**-24 * 2 * size
        return exact.abs() * relative * 1.01 + least + summed * (1 + relative)

    def _beyond(self, found: Any, exact: Any, size: Any, depth: int, dtype: str) -> float:
        """The largest error in parts of the bound; above 1 is wrong. Values that overflow the type are infinite."""
        largest = self.torch.finfo(found.dtype).max
        inside = exact.abs() < largest
        error = (found.double() - exact).abs()[inside]
        return float((error / self._bound(exact, size, depth, dtype)[inside]).max()) if inside.any() else 0.0

    def _random(self, *shape: int, dtype: str) -> Any:
        return self.torch.randn(*shape).to(getattr(self.torch, dtype))

    def check_taken_over(self) -> Result:
        taken = self.pack.taken_over()
        detail = f"{len(taken)} operations; {'; '.join(self.pack.compiled_to())}"
        return {"mm", "addmm", "bmm", "_int_mm"} <= set(taken), detail or self.pack.why_not()

    def check_quiet(self) -> Result:
        """`import torch` alone has loaded it and said nothing; a variable switches it off."""
        pack, start, before = self.pack, self.pack._pack.start, self.pack.taken_over()
        pack.give_back()
        os.environ["TORCH_TUNED_KERNELS"] = "0"
        start()
        off, why = pack.taken_over(), pack.why_not()
        del os.environ["TORCH_TUNED_KERNELS"]
        start()
        good = (
            not self.said and before == pack.taken_over() != () and not off and "TORCH_TUNED_KERNELS=0" in why
        )
        return (
            good,
            self.said or "loaded by `import torch` without a word; TORCH_TUNED_KERNELS=0 leaves all as it is",
        )

    def check_import_order(self) -> Result:
        """The package can be imported before torch, too."""
        return self.first == 0, f"imported before torch in a process of its own: ended with {self.first}"

    def _products(self, dtype: str) -> Result:
        torch, worst, cases, faults = self.torch, 0.0, 0, []
        for m, k, n in FEW:
            a, b = self._random(m, k, dtype=dtype), self._random(k, n, dtype=dtype)
            exact, size = a.double() @ b.double(), a.double().abs() @ b.double().abs()
            added = self._random(n, dtype=dtype)
            for (left, x), (right, y) in ((p, q) for p in layouts(torch, a) for q in layouts(torch, b)):
                before = self.pack.calls("mm"), self.pack.calls("addmm")
                plain, biased = torch.mm(x, y), torch.addmm(added, x, y, beta=0.5, alpha=-2)
                if (self.pack.calls("mm"), self.pack.calls("addmm")) != (before[0] + 1, before[1] + 1):
                    faults.append(f"{m}x{k}x{n} {left} {right}: ours did not run")
                with_bias = 0.5 * added.double() - 2 * exact
                away = max(
                    self._beyond(plain, exact, size, k, dtype),
                    self._beyond(biased, with_bias, 2 * size + added.double().abs(), k, dtype),
                )
                worst, cases = max(worst, away), cases + 2
        return worst <= 1 and not faults, "; ".join(faults[:3]) or (
            f"{cases} products in {dtype}, each counted once; error at most {worst:.2f} of the bound"
        )

    def check_bfloat16(self) -> Result:
        return self._products("bfloat16")

    def check_float16(self) -> Result:
        return self._products("float16")

    def check_batches(self) -> Result:
        torch, worst = self.torch, 0.0
        before = self.pack.calls("bmm"), self.pack.calls("baddbmm")
        cases = 0
        for dtype in HALVES:
            for batches, m, k, n in (
                (1, 1, 40, 33),
                (5, 1, 64, 70),
                (3, 4, 17, 9),
                (2, 50, 33, 1),
                (6, 3, 128, 128),
            ):
                a, b = self._random(batches, m, k, dtype=dtype), self._random(batches, k, n, dtype=dtype)
                exact, size = a.double() @ b.double(), a.double().abs() @ b.double().abs()
                added = self._random(batches, 1, n, dtype=dtype)
                for _, y in layouts(torch, b):
                    worst = max(worst, self._beyond(torch.bmm(a, y), exact, size, k, dtype))
                    sum_ = torch.baddbmm(added, a, y)
                    larger = size + added.double().abs()
                    worst = max(worst, self._beyond(sum_, exact + added.double(), larger, k, dtype))
                    cases += 1
        ran = self.pack.calls("bmm") - before[0], self.pack.calls("baddbmm") - before[1]
        return worst <= 1 and ran == (
            cases,
            cases,
        ), f"{cases} batches twice, ours ran {ran}; {worst:.2f} of the bound"

    def check_vectors(self) -> Result:
        torch, worst = self.torch, 0.0
        before = self.pack.calls("addmv_"), self.pack.calls("addmv")
        for dtype in HALVES:
            a, x, added = (self._random(*s, dtype=dtype) for s in ((70, 133), (133,), (70,)))
            exact, size = a.double() @ x.double(), a.double().abs() @ x.double().abs()
            for matrix in (a, a.mT.contiguous().mT):
                worst = max(worst, self._beyond(torch.mv(matrix, x), exact, size, 133, dtype))
                found = torch.addmv(added, matrix, x)
                larger = size + added.double().abs()
                worst = max(worst, self._beyond(found, exact + added.double(), larger, 133, dtype))
        ran = self.pack.calls("addmv_") - before[0], self.pack.calls("addmv") - before[1]
        return worst <= 1 and ran == (4, 4), f"mv and addmv, ours ran {ran}; {worst:.2f} of the bound"

    def check_in_place(self) -> Result:
        """out= and in place, with results that lie strided; overlaps with a factor are not ours."""
        torch, good = self.torch, True
        for dtype in HALVES:
            a, b = self._random(2, 40, dtype=dtype), self._random(40, 24, dtype=dtype)
            plain = torch.mm(a, b)
            into = torch.full((24, 2), 7.0, dtype=plain.dtype).mT
            good &= torch.mm(a, b, out=into) is into and torch.equal(into, plain)
            sums = torch.ones(2, 24, dtype=plain.dtype)
            expected = torch.addmm(sums, a, b)
            good &= torch.equal(sums.clone().addmm_(a, b), expected)
            good &= torch.equal(torch.addmm(sums, a, b, out=torch.empty_like(sums)), expected)
            resized = torch.empty(0, dtype=plain.dtype)
            good &= torch.equal(torch.mm(a, b, out=resized), plain)
            square = self._random(4, 4, dtype=dtype)
            before = self.pack.calls("mm.out")
            with suppress(RuntimeError):  # some versions refuse it
                torch.mm(square, square, out=square)
            good &= self.pack.calls("mm.out") == before
            # beta 0 must not read what lies there.
            nan = torch.full_like(sums, float("nan"))
            good &= torch.equal(torch.addmm(nan, a, b, beta=0), plain)
            good &= torch.equal(nan.clone().addmm_(a, b, beta=0), plain)
        return bool(good), "out=, addmm_, resizing, beta of 0 over NaN, transposed results"

    def check_special_values(self) -> Result:
        torch, wrong = self.torch, []
        infinite, nan = float("inf"), float("nan")
        for dtype in HALVES:
            for k in (1, 8, 21):
                a = torch.ones(1, k, dtype=getattr(torch, dtype))
                for value, expected in ((nan, nan), (infinite, infinite), (-infinite, -infinite)):
                    for b in (torch.zeros(k, 5, dtype=a.dtype), torch.zeros(5, k, dtype=a.dtype).mT):
                        b[k - 1, 2] = value
                        found = torch.mm(a, b)[0].tolist()
                        same = found[2] == expected or (found[2] != found[2] and expected != expected)
                        if not same or any(found[i] != 0 for i in (0, 1, 3, 4)):
                            wrong.append(f"{dtype} {k} {value}: {found}")
                zero = torch.zeros(1, k, dtype=a.dtype) @ torch.full((k, 3), infinite, dtype=a.dtype)
                if not bool(zero.isnan().all()):
                    wrong.append(f"{dtype}: 0 times infinity")
            largest = torch.finfo(getattr(torch, dtype)).max
            big = torch.full((1, 4), largest, dtype=getattr(torch, dtype))
            if not bool(torch.isinf(big @ torch.full((4, 9), 2.0, dtype=big.dtype)).all()):
                wrong.append(f"{dtype}: overflow")
            whole = torch.randint(-4, 5, (2, 30)).to(big.dtype), torch.randint(-4, 5, (30, 11)).to(big.dtype)
            exact = (whole[0].double() @ whole[1].double()).to(big.dtype)
            if not torch.equal(whole[0] @ whole[1], exact):
                wrong.append(f"{dtype}: whole numbers")
        return not wrong, "; ".join(
            wrong[:3]
        ) or "NaN, infinities, 0 times infinity, overflow, exact whole numbers"

    def check_empty(self) -> Result:
        torch, good = self.torch, True
        for dtype in (torch.bfloat16, torch.float16, torch.int8):
            multiply = torch._int_mm if dtype == torch.int8 else torch.mm
            for m, k, n in ((0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 0, 1)):
                found = multiply(torch.ones(m, k, dtype=dtype), torch.ones(k, n, dtype=dtype))
                good &= found.shape == (m, n) and not bool(found.any())
        batch = torch.bmm(torch.ones(0, 1, 3).half(), torch.ones(0, 3, 4).half())
        good &= batch.shape == (0, 1, 4)
        bias = torch.addmm(torch.ones(4).half(), torch.ones(1, 0).half(), torch.ones(0, 4).half())
        return bool(good and (bias == 1).all()), "products of nothing in three types, with a bias"

    def check_int8(self) -> Result:
        torch, wrong = self.torch, []
        before, cases = self.pack.calls("_int_mm"), 0
        for m, k, n in INT8:
            a, b = (torch.randint(-128, 128, shape, dtype=torch.int8) for shape in ((m, k), (k, n)))
            exact = (a.double() @ b.double()).to(torch.int32)
            for (left, x), (right, y) in ((p, q) for p in layouts(torch, a) for q in layouts(torch, b)):
                cases += 1
                if not torch.equal(torch._int_mm(x, y), exact):
                    wrong.append(f"{m}x{k}x{n} {left} {right}")
        most = torch.full((3, 5000), -128, dtype=torch.int8)
        cases += 1
        if not bool((torch._int_mm(most, most.mT.contiguous()) == 5000 * 16384).all()):
            wrong.append("the largest sums")
        out = torch.empty(3, 3, dtype=torch.int32)
        if torch._int_mm(most, most.mT, out=out) is not out or not bool((out == 5000 * 16384).all()):
            wrong.append("out=")
        ran = self.pack.calls("_int_mm") - before
        return not wrong and ran == cases, "; ".join(
            wrong[:3]
        ) or f"{cases} products exact, ours ran {ran} times"

    def _values(self, dtype: str) -> Any:
        """Numbers of every size, with their signs, and those around which a formula changes."""
        torch = self.torch
        exponents = torch.linspace(-30, 10, 4001, dtype=torch.float64)
        around = [torch.linspace(-1, 1, 2001), torch.linspace(-110, 95, 8191), torch.randn(4099) * 3]
        sizes = torch.cat([2.0**exponents, *(one.double() for one in around)])
        return torch.cat([sizes, -sizes]).to(getattr(torch, dtype))

    def _in_ulps(self, found: Any, exact: Any, dtype: str) -> Any:
        """Errors in ulp of the type, beyond the rounding to it; results below its range count by absolute size."""
        torch, (relative, least) = self.torch, ROUNDOFF[dtype]
        ulp = 2.0 ** torch.floor(torch.log2(exact.abs().clamp(min=2.0**-126))) * 2 * relative
        ulp = ulp.clamp(min=2 * least)
        fits = exact.abs() <= torch.finfo(found.dtype).max
        return ((found.double() - exact).abs() / ulp)[fits & exact.isfinite()]

    def check_functions(self) -> Result:
        torch, worst, faults = self.torch, {}, []
        for name, most in ULPS.items():
            function = torch.nn.functional.silu if name == "silu" else getattr(torch, name)
            for dtype in ROUNDOFF:
                x, before = self._values(dtype), self.pack.calls(name)
                exact = function(x.double())
                if name in ("sigmoid", "silu"):  # smaller results may be 0 or that small
                    exact[exact.abs() < 2.0**-120] = float("nan")
                found = self._in_ulps(function(x), exact, dtype).max().item()
                worst[name, dtype] = found
                # A 16-bit type: half an ulp for rounding, and the error in fp32, which is 2^-8 ulp of it at most.
                limit = most if dtype == "float32" else 0.5 + most * 2.0**-12 + 2.0**-8
                if found > limit or self.pack.calls(name) != before + 1:
                    faults.append(f"{name} {dtype}: {found:.2f} ulp, {self.pack.calls(name) - before} calls")
        said = ", ".join(f"{name} {worst[name, 'float32']:.2f}" for name in ULPS)
        return not faults, "; ".join(faults[:5]) or f"ulp in fp32: {said}; in 16 bits rounded once"

    def check_gelu(self) -> Result:
        """Both forms, against float64: errors in ulp of half the input, since 1 + erf cancels below zero."""
        torch, worst = self.torch, 0.0
        before = self.pack.calls("gelu")
        for dtype, approximate in ((d, a) for d in ROUNDOFF for a in ("none", "tanh")):
            x = self._values(dtype)
            exact = torch.nn.functional.gelu(x.double(), approximate=approximate)
            found = torch.nn.functional.gelu(x, approximate=approximate).double()
            relative, least = ROUNDOFF[dtype]
            bound = exact.abs() * relative * 1.01 + least + x.double().abs() / 2 * 2.0**-24 * 12
            fits = exact.abs() <= torch.finfo(x.dtype).max
            worst = max(worst, float(((found - exact).abs() / bound)[fits].max()))
        ran = self.pack.calls("gelu") - before
        # In fp32 the form without tanh is left to oneDNN where it is better.
        return worst <= 1 and ran in (
            5,
            6,
        ), f"{worst:.2f} of the bound in three types, ours ran {ran} of 6 times"

    def check_function_edges(self) -> Result:
        """NaN and infinities, every length, strides, in place, out=, nothing at all, several threads."""
        torch, wrong = self.torch, []
        special = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.0] * 3)
        functions = [getattr(torch, name) for name in ULPS if name != "silu"]
        gelu = torch.nn.functional.gelu
        functions += [torch.nn.functional.silu, gelu]
        for function, dtype in ((f, d) for f in functions for d in ROUNDOFF):
            x = special.to(getattr(torch, dtype))
            found, exact = function(x), function(x.double()).to(x.dtype)
            if str(found.tolist()) != str(exact.tolist()):
                wrong.append(f"{function.__name__} {dtype}: {found.tolist()[:5]}")
            x = torch.randn(67).to(x.dtype)
            whole = function(x)
            lengths = [
                n for n in (0, 1, 2, 3, 5, 8, 13, 66) if not torch.equal(function(x[:n].clone()), whole[:n])
            ]
            if lengths:
                wrong.append(f"{function.__name__} {dtype} of {lengths}")
            square = torch.randn(7, 600).to(x.dtype)
            plain = function(square)
            # oneDNN's gelu, where it is left in place, may round otherwise when values lie apart.
            alike = partial(torch.allclose, rtol=1e-5, atol=1e-6) if function is gelu else torch.equal
            if not alike(function(square.mT), plain.mT) or not alike(function(square[:, ::3]), plain[:, ::3]):
                wrong.append(f"{function.__name__} {dtype} strided")
        x = torch.randn(5, 70000)
        if not torch.equal(torch.exp(x, out=torch.empty_like(x)), torch.exp(x).clone()):
            wrong.append("out=")
        if not torch.equal(x.clone().sigmoid_(), x.sigmoid()) or not torch.equal(
            torch.exp(torch.arange(5)), torch.exp(torch.arange(5.0))
        ):
            wrong.append("in place, whole numbers")
        one = x.tanh()
        torch.set_num_threads(3)
        if not torch.equal(x.tanh(), one):
            wrong.append("threads")
        torch.set_num_threads(1)
        return not wrong, "; ".join(wrong[:4]) or "NaN, infinities, lengths, strides, out=, in place, threads"

    def check_softmax(self) -> Result:
        torch, worst, wrong, cases = self.torch, 0.0, [], 0
        before = self.pack.calls("_softmax"), self.pack.calls("_log_softmax")
        for dtype in ROUNDOFF:
            for shape in ((1, 1), (3, 2), (2, 7), (5, 4, 33), (4, 1000), (2, 5000)):
                x = (torch.randn(shape) * 6).to(getattr(torch, dtype))
                relative, least = ROUNDOFF[dtype]
                exact = torch.softmax(x.double(), -1)
                error = (torch.softmax(x, -1).double() - exact).abs()
                # The difference to the largest value is rounded, too, and an error there is a relative one here.
                summed = (8 + shape[-1] / 4 + (x.double().amax(-1, keepdim=True) - x.double())) * 2.0**-24
                worst = max(worst, float((error / (exact * (relative * 1.01 + summed) + least)).max()))
                exact = torch.log_softmax(x.double(), -1)
                error = (torch.log_softmax(x, -1).double() - exact).abs()
                bound = exact.abs() * relative * 1.01 + (8 + shape[-1] / 4 + 4 * exact.abs()) * 2.0**-24
                worst = max(worst, float((error / bound).max()))
                cases += 1
        infinite = float("inf")
        rows = [
            [0.0, -infinite, 1.0],
            [-infinite] * 3,
            [infinite, 0.0, 1.0],
            [float("nan"), 0.0, 0.0],
            [-200.0, 0, 3],
        ]
        x = torch.tensor(rows)
        for function in (torch.softmax, torch.log_softmax):
            found, exact = function(x, -1), function(x.double(), -1).float()
            cases += function is torch.softmax
            same = torch.isclose(found, exact, rtol=1e-5, atol=1e-7, equal_nan=True)
            if not bool(same.all()):
                wrong.append(f"{function.__name__}: {found.tolist()}")
        if torch.softmax(torch.ones(0, 4), -1).shape != (0, 4) or torch.softmax(
            torch.ones(3, 0), -1
        ).shape != (3, 0):
            wrong.append("empty")
        ran = self.pack.calls("_softmax") - before[0], self.pack.calls("_log_softmax") - before[1]
        if ran != (cases, cases):
            wrong.append(f"ours ran {ran} of {cases}")
        return worst <= 1 and not wrong, "; ".join(wrong) or f"{cases} cases twice, {worst:.2f} of the bound"

    def check_function_gradients(self) -> Result:
        torch, worst = self.torch, 0.0
        functions = [torch.exp, torch.sigmoid, torch.tanh, torch.erf, torch.nn.functional.silu]
        functions += [
            torch.nn.functional.gelu,
            partial(torch.softmax, dim=-1),
            partial(torch.log_softmax, dim=-1),
        ]
        for function in functions:
            x = torch.randn(5, 33, requires_grad=True)
            y = x.detach().double().requires_grad_()
            weights = torch.randn(5, 33)
            (function(x) * weights).sum().backward()
            (function(y) * weights.double()).sum().backward()
            distance = (x.grad.double() - y.grad).abs().max() / y.grad.abs().max()
            worst = max(worst, float(distance))
        return (
            worst < 2e-6,
            f"of {len(functions)} functions, apart from float64 by {worst:.1e} of the largest",
        )

    def check_any_size(self) -> Result:
        """Products of any size in fp16, and in bf16 where the CPU has none: PyTorch's bf16 is good elsewhere."""
        torch, worst, cases, ran, left = self.torch, 0.0, 0, 0, []
        for dtype in HALVES:
            before = self.pack.calls("mm")
            torch.mm(self._random(64, 5, dtype=dtype), self._random(5, 64, dtype=dtype))
            if self.pack.calls("mm") == before:
                left.append(dtype)
                continue
            before = self.pack.calls("mm") + self.pack.calls("bmm")
            for m, k, n in ((5, 3, 7), (17, 40, 33), (97, 300, 200), (120, 513, 193)):
                a, b = self._random(m, k, dtype=dtype), self._random(k, n, dtype=dtype)
                exact, size = a.double() @ b.double(), a.double().abs() @ b.double().abs()
                for _, x in layouts(torch, a):
                    for _, y in layouts(torch, b):
                        worst = max(worst, self._beyond(torch.mm(x, y), exact, size, k, dtype))
                        cases += 1
                batch = torch.bmm(a.expand(3, m, k), b[None].expand(3, k, n))
                worst = max(worst, *(self._beyond(one, exact, size, k, dtype) for one in batch))
                cases += 1
            ran += self.pack.calls("mm") + self.pack.calls("bmm") - before
        right = left == ["bfloat16"] if " bf16" in Path("/proc/cpuinfo").read_text() else not left
        detail = f"{cases} cases, ours ran {ran}; {worst:.2f} of the bound; left to PyTorch: {left or 'none'}"
        return worst <= 1 and ran == cases and right, detail

    def check_attention(self) -> Result:
        """By way of fp32 where the CPU has no products of the type; with masks, and one query."""
        torch, worst, name = self.torch, 0.0, "_scaled_dot_product_flash_attention_for_cpu"
        attend, before = torch.nn.functional.scaled_dot_product_attention, self.pack.calls(name)
        for dtype in HALVES:
            for tokens, causal, masked in ((1, False, False), (37, True, False), (70, False, True)):
                q = self._random(2, 3, tokens, 40, dtype=dtype)
                k, v = (self._random(2, 3, 70, 40, dtype=dtype) for _ in range(2))
                mask = self._random(tokens, 70, dtype=dtype) if masked else None
                wide = None if mask is None else mask.double()
                exact = attend(q.double(), k.double(), v.double(), wide, is_causal=causal)
                error = (attend(q, k, v, mask, is_causal=causal).double() - exact).abs().max()
                # Weights and results are each rounded to 16 bits once.
                worst = max(worst, float(error) / (4 * ROUNDOFF[dtype][0] * float(v.abs().max())))
        ran = self.pack.calls(name) - before
        return worst <= 1 and ran in (
            3,
            6,
        ), f"{worst:.2f} of four roundoffs of the largest value, {ran} of 6 by ours"

    def check_convolutions(self) -> Result:
        """Forward and gradients within the bound of a sum in fp32 that is rounded once; each by ours."""
        torch, f, worst, wrong = self.torch, self.torch.nn.functional, 0.0, []
        names = "_convolution", "convolution_backward"
        before = {name: self.pack.calls(name) for name in names}
        cases: tuple[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
            ("conv2d", (2, 8, 11, 13), (16, 8, 3, 3), {"padding": 1}),
            ("conv2d", (2, 8, 11, 13), (16, 4, 3, 3), {"padding": 1, "stride": 2, "groups": 2}),
            ("conv2d", (1, 8, 11, 13), (8, 1, 3, 3), {"padding": 2, "dilation": 2, "groups": 8}),
            ("conv2d", (1, 24, 5, 5), (8, 24, 1, 1), {}),
            ("conv1d", (2, 6, 30), (4, 6, 5), {"padding": 2, "stride": 3}),
            ("conv3d", (1, 4, 5, 6, 7), (6, 2, 3, 3, 3), {"padding": 1, "groups": 2}),
            ("conv_transpose2d", (2, 8, 6, 5), (8, 3, 4, 4), {"stride": 2, "padding": 1, "groups": 2}),
            ("conv_transpose1d", (1, 5, 9), (5, 4, 3), {"stride": 2, "output_padding": 1}),
        )
        changes: tuple[Callable[[Any], Any], ...] = (
            lambda x: x,
            lambda x: x.double(),
            lambda x: x.double().abs(),
        )
        total = 0
        for dtype in HALVES:
            # PyTorch's dense kernel in bf16 stays since 2.9 where the CPU has instructions for it.
            recent = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 9)
            own = (
                recent and dtype == "bfloat16" and bool(CDLL(None).getauxval(26) >> 14 & 1)
            )  # AT_HWCAP2, BF16
            for name, shape, sizes, how in cases[1:] if own else cases:
                function = partial(getattr(f, name), **how)
                outputs = sizes[1] * how.get("groups", 1) if "transpose" in name else sizes[0]
                leaves = [self._random(*one, dtype=dtype) for one in (shape, sizes, (outputs,))]
                for last in (False, True):
                    if last and len(shape) == 4:
                        leaves[0] = leaves[0].contiguous(memory_format=torch.channels_last)
                    elif last:  # every second value of a longer tensor
                        leaves[0] = leaves[0].repeat_interleave(2, -1)[..., ::2]
                    mine, right, absolute = (
                        [change(one.detach()).requires_grad_() for one in leaves] for change in changes
                    )
                    found, exact, size = function(*mine), function(*right), function(*absolute)
                    if (
                        last
                        and len(shape) == 4
                        and not found.is_contiguous(memory_format=torch.channels_last)
                    ):
                        wrong.append(f"{name} {how}: not channels_last")
                    depth = max(sizes[0], sizes[1]) * leaves[1][0, 0].numel()
                    worst = max(worst, self._beyond(found, exact, size, depth, dtype))
                    slope = self._random(*found.shape, dtype=dtype)
                    of = [
                        torch.autograd.grad(result, inputs, side)
                        for result, inputs, side in (
                            (found, mine, slope),
                            (exact, right, slope.double()),
                            (size, absolute, slope.double().abs()),
                        )
                    ]
                    most = max(depth, slope.numel())
                    away = [self._beyond(x, y, z, most, dtype) for x, y, z in zip(*of, strict=True)]
                    worst, total = max(worst, *away), total + 1
        ran = [self.pack.calls(name) - before[name] for name in names]
        return worst <= 1 and not wrong and ran == [total, total], "; ".join(wrong[:3]) or (
            f"{total} cases with gradients, ours ran {ran}; {worst:.2f} of the bound"
        )

    def check_convolutions_at_the_edge(self) -> Result:
        """Autocast is ours; fp32, nothing to convolve, mixed types and faulty calls are PyTorch's."""
        torch, f = self.torch, self.torch.nn.functional
        x, w, b = torch.randn(1, 4, 7, 7), torch.randn(4, 2, 3, 3), torch.randn(4)
        before = self.pack.calls("_convolution")
        with torch.autocast("cpu", torch.bfloat16):
            cast = f.conv2d(x, w, b, groups=2)
        good = cast.dtype == torch.bfloat16 and self.pack.calls("_convolution") == before + 1
        good &= torch.equal(cast, f.conv2d(*(one.bfloat16() for one in (x, w, b)), groups=2))
        layer = torch.nn.Conv2d(4, 4, 3, groups=2).half()
        with torch.inference_mode():
            good &= torch.equal(layer(x.half()), layer(x[0].half())[None])
        halves, before, refused = (x.half(), w.half(), b.half()), self.pack.calls("_convolution"), 0
        good &= f.conv2d(x, w, b, groups=2).dtype == torch.float32
        good &= f.conv2d(halves[0][:0], *halves[1:], groups=2).shape == (0, 4, 5, 5)
        faulty: tuple[tuple[tuple[Any, ...], int], ...] = (
            ((halves[0], w, b), 2),
            ((halves[0], halves[1], b), 2),
            ((halves[0], halves[1], torch.ones(5).half()), 2),
            ((halves[0], halves[1], torch.ones(6).half()), 2),
            ((*halves,), 1),
            ((*halves,), 3),
            ((halves[0][..., :2], *halves[1:]), 2),
        )
        for arguments, groups in faulty:
            try:
                f.conv2d(*arguments, groups=groups)
            except RuntimeError:
                refused += 1
        same = self.pack.calls("_convolution") == before
        return bool(good) and same and refused == len(faulty), (
            f"autocast by ours; {refused} of {len(faulty)} faulty calls refused; fp32 and nothing by PyTorch's"
        )

    def check_max_pooling(self) -> Result:
        """Values and places as in float64, whose kernel is PyTorch's: paddings, steps, gaps, edges, NaN, ties."""
        torch, wrong, cases = self.torch, [], 0
        pool, before = partial(torch.nn.functional.max_pool2d, return_indices=True), self.pack.calls(POOL)
        for dtype in ROUNDOFF:
            for shape in ((2, 3, 17, 23), (1, 1, 5, 5), (4, 9, 40), (1, 2, 3, 3)):
                x = torch.randint(-9, 9, shape).to(getattr(torch, dtype))  # with ties
                x.view(-1)[::31] = -float("inf")
                if len(shape) == 3 or shape[0] == 2:  # planes with NaN and planes without
                    x.view(-1)[::29] = float("nan")
                for window, step, padding, gap in (
                    (3, 2, 1, 1),
                    (2, 2, 0, 1),
                    (3, 1, 1, 1),
                    (2, 3, 1, 2),
                    (3, 1, 0, 1),
                ):
                    cases += 1
                    values, places = pool(x, window, step, padding, gap)
                    exact, exact_places = pool(x.double(), window, step, padding, gap)
                    same = str(values.double().tolist()) == str(exact.tolist())
                    if not same or not torch.equal(places, exact_places):
                        wrong.append(f"{dtype} {shape} {window} {step} {padding} {gap}")
        ran = self.pack.calls(POOL) - before
        last = torch.randn(2, 4, 9, 9).contiguous(memory_format=torch.channels_last)
        if (
            not torch.equal(pool(last, 3)[0].double(), pool(last.double(), 3)[0])
            or self.pack.calls(POOL) != before + ran
        ):
            wrong.append("channels last")
        return not wrong and ran == cases, "; ".join(
            wrong[:4]
        ) or f"{cases} cases equal, ours ran {ran} times"

    def check_left_alone(self) -> Result:
        """What is not ours reaches PyTorch's kernel, and what is wrong is refused as ever."""
        torch = self.torch
        before = {name: self.pack.calls(name) for name in self.pack.taken_over()}
        a = torch.randn(3, 8)
        good = torch.allclose(torch.mm(a, a.mT), (a.double() @ a.double().mT).float(), atol=1e-5)
        good &= torch.mm(a.to(torch.cfloat), a.mT.to(torch.cfloat)).dtype == torch.cfloat
        half, refused = a.half(), 0
        faulty: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...] = (
            (torch.mm, (half, half)),
            (torch.mm, (half, half.mT.bfloat16())),
            (torch.addmm, (torch.ones(7).half(), half, half.mT)),
            (torch.bmm, (half[None], half.mT[None].expand(2, 8, 3))),
            (torch.mv, (half, half[:, 0])),
            (torch._int_mm, (half, half.mT)),
            (partial(torch.mm, out=torch.empty(3, 3)), (half, half.mT)),
        )
        for function, arguments in faulty:
            try:
                function(*arguments)
            except RuntimeError:
                refused += 1
        same = before == {name: self.pack.calls(name) for name in self.pack.taken_over()}
        return bool(good) and refused == 7 and same, f"{refused} of 7 faulty calls refused; ours ran for none"

    def check_autograd(self) -> Result:
        """Gradients of a layer agree with float64; in inference mode the same result comes out."""
        torch, worst = self.torch, 0.0
        for dtype in HALVES:
            layer = torch.nn.Linear(40, 24).to(getattr(torch, dtype))
            x = self._random(2, 40, dtype=dtype).requires_grad_()
            exact = torch.nn.Linear(40, 24).double()
            exact.load_state_dict({name: value.double() for name, value in layer.state_dict().items()})
            y = x.detach().double().requires_grad_()
            layer(x).pow(2).sum().backward()
            exact(y).pow(2).sum().backward()
            pairs = ((x, y), (layer.weight, exact.weight), (layer.bias, exact.bias))
            for found, expected in pairs:
                distance = (found.grad.double() - expected.grad).abs().max() / expected.grad.abs().max()
                worst = max(worst, float(distance) / (8 * ROUNDOFF[dtype][0]))
            with torch.inference_mode():
                if not torch.equal(layer(x), layer(x.detach())):
                    return False, "inference mode differs"
        return worst <= 1, f"gradients within {worst:.2f} of eight roundoffs of the largest"

    def check_threads(self) -> Result:
        """One thread and several give the same bits."""
        torch, good = self.torch, True
        products: tuple[Callable[[], Any], ...] = (
            partial(
                torch.mm,
                self._random(1, 1024, dtype="bfloat16"),
                self._random(512, 1024, dtype="bfloat16").mT,
            ),
            partial(torch.mm, self._random(3, 700, dtype="float16"), self._random(700, 600, dtype="float16")),
            partial(
                torch._int_mm, *(torch.randint(-9, 9, s, dtype=torch.int8) for s in ((300, 200), (200, 333)))
            ),
        )
        for product in products:
            results = []
            for threads in (1, 2, 5):
                torch.set_num_threads(threads)
                results.append(product())
            good &= all(torch.equal(results[0], one) for one in results[1:])
        torch.set_num_threads(1)
        return bool(good), "1, 2 and 5 threads agree bit by bit"

    def check_stock(self) -> Result:
        """Given back, PyTorch's kernels run; taken over again, ours do."""
        torch, pack = self.torch, self.pack
        a, b = self._random(1, 64, dtype="bfloat16"), self._random(64, 64, dtype="bfloat16")
        ours = torch.mm(a, b)
        with pack.stock():
            inside, theirs = pack.taken_over(), torch.mm(a, b)
        count = pack.calls("mm")
        again = torch.mm(a, b)
        good = not inside and pack.calls("mm") == count + 1 and torch.equal(ours, again)
        return good and torch.allclose(
            ours.float(), theirs.float(), rtol=0.02, atol=0.1
        ), "given back and taken again"


def imported_torch() -> str:
    """Import torch; return the warnings and what was written to standard error meanwhile, also by C++."""
    with tempfile.TemporaryFile() as file, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            import torch  # noqa: F401 - to see what it says
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        return "; ".join([*(str(one.message) for one in warned), file.read().decode().strip()]).strip("; ")


def imported_first() -> int:
    """Import the package before torch, in a process of its own; return how it ended, 0 if it took over."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ending = 2
    try:
        import torch_tuned_kernels

        ending = int(not torch_tuned_kernels.taken_over())
    finally:
        os._exit(ending)


def main() -> None:
    first = imported_first()
    said = imported_torch()
    loaded = "torch_tuned_kernels" in sys.modules
    import torch
    import torch_tuned_kernels as pack

    torch.manual_seed(20)
    checks = Checks(torch, pack, said if loaded else "`import torch` has not loaded it", first)
    names = [name for name in vars(Checks) if name.startswith("check_")]
    report({name.removeprefix("check_"): getattr(checks, name) for name in names}, vital="taken_over")


if __name__ == "__main__":
    main()
