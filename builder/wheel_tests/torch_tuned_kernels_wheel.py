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
from functools import partial
from typing import Any

from kit import Result, report

# Of each type: half the distance of neighbours, relative (unit roundoff), and that of its smallest values.
ROUNDOFF = {
    "bfloat16": (2.0**-8, 2.0**-134),
    "float16": (2.0**-11, 2.0**-25),
    "float32": (2.0**-24, 2.0**-150),
}
HALVES = ("bfloat16", "float16")
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
)
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

    def __init__(self, torch: Any, pack: Any, said: str) -> None:
        self.torch, self.pack, self.said = torch, pack, said

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
        pack, before = self.pack, self.pack.taken_over()
        pack.give_back()
        os.environ["TORCH_TUNED_KERNELS"] = "0"
        pack._autoload()
        off, why = pack.taken_over(), pack.why_not()
        del os.environ["TORCH_TUNED_KERNELS"]
        pack._autoload()
        good = (
            not self.said and before == pack.taken_over() != () and not off and "TORCH_TUNED_KERNELS=0" in why
        )
        return (
            good,
            self.said or "loaded by `import torch` without a word; TORCH_TUNED_KERNELS=0 leaves all as it is",
        )

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


def main() -> None:
    said = imported_torch()
    loaded = "torch_tuned_kernels" in sys.modules
    import torch
    import torch_tuned_kernels as pack

    torch.manual_seed(20)
    checks = Checks(torch, pack, said if loaded else "`import torch` has not loaded it")
    names = [name for name in vars(Checks) if name.startswith("check_")]
    report({name.removeprefix("check_"): getattr(checks, name) for name in names}, vital="taken_over")


if __name__ == "__main__":
    main()
