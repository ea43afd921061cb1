"""Runs inside the emulated environment: does this torch give the stored results?

Integer problems must come out exact. What was computed to 50 digits, or in float64 by NumPy, must agree within the
tolerance beside it (the command stands in torch_wheel.json). Nothing is compiled here, and nothing is random. One
JSON line a check, on standard output.
"""

import json
import math
import os
import re
import tempfile
import threading
from datetime import timedelta
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kit import Result, report


def spread(torch: Any, shape: tuple[int, ...], seed: int, span: int, divisor: int = 1) -> Any:
    """A float64 tensor of whole numbers around zero over a power of two; the same formula made the results."""
    n = torch.arange(math.prod(shape), dtype=torch.int64)
    return (((3 * n * n + seed * n) % 65521 % span - span // 2).double() / divisor).reshape(shape)


def digest(torch: Any, tensor: Any) -> list[float]:
    """Sum, weighted sum (which sees the order) and one value from within: all exact for whole numbers."""
    v = tensor.detach().double().flatten()
    weights = torch.arange(len(v), dtype=torch.int64) % 97 + 1
    return [float(v.sum()), float((v * weights).sum()), float(v[len(v) // 3])]


def apart(torch: Any, found: Any, expected: Any) -> float:
    """The largest absolute difference; NaN, which passes no comparison, if a NaN was found."""
    stored = torch.tensor(expected, dtype=torch.float64)
    if found.shape != stored.shape:
        raise ValueError(f"shape {tuple(found.shape)}, not {tuple(stored.shape)}")
    return float((found.detach().double() - stored).abs().max())


def check_import(torch: Any, _: Any) -> Result:
    shown = torch.__config__.show()
    blas, lapack = (re.findall(rf"\b{name}_INFO=([^,\s]+)", shown) for name in ("BLAS", "LAPACK"))
    paths = [path for path in ("/home/", "/var/", "/tmp/") if path in shown]  # noqa: S108 - looked for, not used
    named = f"BLAS {' '.join(blas) or 'not named'}, LAPACK {' '.join(lapack) or 'not named'}"
    onednn = "on" if torch.backends.mkldnn.is_available() else "off"
    detail = f"torch {torch.__version__}; {named}, oneDNN {onednn}"
    if paths:
        detail += f"; build paths in it: {' '.join(paths)}"
    # The wheel's own metadata says which version it is; the local version stands there alone.
    expected = version("torch").split("+")[0]
    return torch.__version__.split("+")[0] == expected and bool(blas) and not paths, detail


def check_sve_dispatch(torch: Any, _: Any) -> Result:
    capability = torch.backends.cpu.get_cpu_capability()
    return bool(capability), f"run-time dispatch chose {capability or 'nothing'}"


def check_parallel(torch: Any, expected: Any) -> Result:
    openmp = "ATen parallel backend: OpenMP" in torch.__config__.parallel_info()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    total = int((torch.arange(200_003, dtype=torch.int64) % 1009).sum())
    ok = openmp and torch.get_num_threads() == 2 and total == expected
    return ok, f"{'OpenMP' if openmp else 'no OpenMP'}; threads {before}, then {torch.get_num_threads()}"


def check_matmul(torch: Any, expected: Any) -> Result:
    wrong = []
    for name in ("float32", "float64", "int64", "bfloat16"):
        # bfloat16 holds whole numbers up to 256, which no partial sum of the narrow case exceeds.
        case, a_span, b_span = ("narrow", 3, 5) if name == "bfloat16" else ("wide", 11, 13)
        a = spread(torch, (97, 128), 1234, a_span).to(getattr(torch, name))
        b = spread(torch, (128, 61), 4321, b_span).to(getattr(torch, name))
        if digest(torch, a @ b) != expected[case]:
            wrong.append(name)
    return not wrong, f"wrong for {', '.join(wrong)}" if wrong else "97x128x61, exact for four types"


def check_dot(torch: Any, expected: Any) -> Result:
    """CMake cannot try how BLAS returns complex numbers where it cross-compiles, so that it has to be told."""
    wrong = []
    for real, whole in ((torch.float32, torch.complex64), (torch.float64, torch.complex128)):
        parts = [spread(torch, (257,), seed, 17).to(real) for seed in (81, 82, 83, 84)]
        a, b = torch.complex(parts[0], parts[1]), torch.complex(parts[2], parts[3])
        found = {"plain": torch.dot(a, b), "conjugated": torch.vdot(a, b)}
        shown = {name: [float(value.real), float(value.imag)] for name, value in found.items()}
        shown["real"] = [float(torch.dot(parts[0], parts[2]))]
        wrong += [f"{name} of {whole}: {value}" for name, value in shown.items() if value != expected[name]]
    return not wrong, "; ".join(wrong) or "real and complex, conjugated and not: exact"


def check_conv2d(torch: Any, expected: Any) -> Result:
    wrong = []
    for case in expected:
        groups = case["groups"]
        for dtype in (torch.float32, torch.float64):
            x = spread(torch, tuple(case["x"]), 711, 9).to(dtype)
            weight = spread(torch, tuple(case["weight"]), 922, 7).to(dtype)
            bias = spread(torch, (case["weight"][0],), 133, 11).to(dtype)
            y = torch.nn.functional.conv2d(
                x, weight, bias, case["stride"], case["padding"], case["dilation"], groups
            )
            if digest(torch, y) != case["digest"]:
                wrong.append(f"{case['name']} {dtype}")
    return not wrong, f"wrong: {'; '.join(wrong)}" if wrong else f"{len(expected)} kinds, exact for two types"


def check_attention(torch: Any, expected: Any) -> Result:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q, k, v = (spread(torch, (1, 2, 40, 16), seed, 33, 16).float() for seed in (501, 602, 703))
    errors = {}
    for causal in (False, True):
        for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH):
            with sdpa_kernel(backend):
                y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
            stored = expected["causal" if causal else "full"]
            name = f"{'causal ' if causal else ''}{backend.name.lower()}"
            errors[name] = apart(torch, y[0][:, expected["rows"]], stored)
    told = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    return all(error < 1e-5 for error in errors.values()), f"largest errors (below 1e-05): {told}"


def check_quantised_linear(torch: Any, expected: Any) -> Result:
    engines = [name for name in torch.backends.quantized.supported_engines if name != "none"]
    if not engines:
        return False, "this torch has no quantised engine"
    x = spread(torch, (5, 67), 811, 201)
    weight = spread(torch, (19, 67), 812, 255)
    bias = spread(torch, (19,), 813, 4001, 128)
    told, ok = [], True
    for engine in engines:
        torch.backends.quantized.engine = engine
        packed = torch.ops.quantized.linear_prepack(
            torch.quantize_per_tensor((weight / 16).float(), 1 / 16, 0, torch.qint8), bias.float()
        )
        quantised = torch.quantize_per_tensor((x / 8).float(), 1 / 8, 128, torch.quint8)
        y = torch.ops.quantized.linear(quantised, packed, 4.0, 128).int_repr()
        quanta = apart(torch, y, expected["static"])
        model = torch.nn.Sequential(torch.nn.Linear(67, 19))  # what is swapped is a child, never the root
        model[0].load_state_dict({"weight": (weight / 128).float(), "bias": bias.float()})
        dynamic = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
        most = max(abs(value) for row in expected["dynamic"] for value in row)
        share = apart(torch, dynamic((x / 8).float()), expected["dynamic"]) / most
        swapped = isinstance(dynamic[0], torch.ao.nn.quantized.dynamic.Linear)
        ok = ok and quanta <= 1 and share < 0.02 and swapped
        told.append(f"{engine}: static {quanta:.0f} quanta off (at most 1), dynamic {share:.2%} (below 2%)")
    return ok, "; ".join(told)


def check_autograd(torch: Any, expected: Any) -> Result:
    errors = []
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        x, t = spread(torch, (6, 4), 31, 17, 8).to(dtype), spread(torch, (6, 3), 32, 17, 8).to(dtype)
        shapes = {"w1": (4, 5), "b1": (5,), "w2": (5, 3), "b2": (3,)}
        leaves = {
            name: spread(torch, shape, 33 + i, 17, 16).to(dtype).requires_grad_()
            for i, (name, shape) in enumerate(shapes.items())
        }
        hidden = torch.tanh(x @ leaves["w1"] + leaves["b1"])
        ((hidden @ leaves["w2"] + leaves["b2"] - t) ** 2).mean().backward()
        error = max(apart(torch, leaves[name].grad, expected[name]) for name in shapes)
        errors.append((error, tolerance))
    image = spread(torch, (2, 3, 9, 8), 711, 9).float().requires_grad_()
    weight = spread(torch, (4, 3, 3, 3), 922, 7).float().requires_grad_()
    y = torch.nn.functional.conv2d(image, weight, stride=2, padding=1)
    (y * spread(torch, tuple(y.shape), 55, 5)).sum().backward()
    exact = [digest(torch, image.grad), digest(torch, weight.grad)] == expected["conv2d"]
    told = ", ".join(f"{error:.1e} (below {tolerance:.0e})" for error, tolerance in errors)
    conv = "exact" if exact else "wrong"
    return exact and all(e < t for e, t in errors), f"largest errors {told}; through conv2d {conv}"


def check_linalg(torch: Any, expected: Any) -> Result:
    i, j = torch.arange(7).double()[:, None], torch.arange(7).double()[None, :]
    hilbert = 1.0 / (i + j + 1)
    square = hilbert[:6, :6]
    ones = torch.arange(1, 7).double()
    found = {
        "solve": torch.linalg.solve(square + torch.eye(6, dtype=torch.float64), ones),
        "eigvalsh": torch.linalg.eigvalsh(square),
        "svdvals": torch.linalg.svd(hilbert[:, :5])[1],
    }
    errors = {name: apart(torch, value, expected[name]) for name, value in found.items()}
    told = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    return all(error < 1e-12 for error in errors.values()), f"largest errors (below 1e-12): {told}"


def check_fft(torch: Any, expected: Any) -> Result:
    worst = 0.0
    for length, stored in expected.items():
        x = spread(torch, (int(length),), 77, 17)
        y = torch.fft.rfft(x)
        worst = max(worst, apart(torch, torch.view_as_real(y), stored))
        worst = max(worst, float((torch.fft.irfft(y, n=int(length)) - x).abs().max()))
    return worst < 1e-12, f"lengths {', '.join(expected)}: largest error {worst:.1e} (below 1e-12)"


def check_script(torch: Any, expected: Any) -> Result:
    """A function compiled by TorchScript: much C++ that no kernel calls, and that must run on any CPU.

    (PyTorch's issue 146792: 2.6.0 took some of it from units meant for SVE.)
    """

    # TorchScript takes what has no type for a tensor, and nothing may follow the ignore that it reads, too.
    def mixed(x, y, rounds: int):  # type: ignore[no-untyped-def]
        for _ in range(rounds):
            x = x * 2 + y
        return torch.cat([x, y]).sum()

    compiled = torch.jit.script(mixed)
    found = compiled(spread(torch, (33,), 71, 17), spread(torch, (7, 33), 73, 17), 3).item()
    return found == expected, f"sum {found}, {expected} expected"


def check_save(torch: Any, _: Any) -> Result:
    names = ("float64", "float32", "float16", "bfloat16", "int64", "int8", "bool", "complex64")
    tensors = {name: spread(torch, (7, 5), 41, 17).to(getattr(torch, name)) for name in names}
    linear = torch.nn.Linear(5, 3)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "saved.pt"
        torch.save({"tensors": tensors, "state": linear.state_dict(), "epoch": 3}, place)
        loaded = torch.load(place, weights_only=True)
    wrong = [n for n in names if loaded["tensors"][n].dtype != tensors[n].dtype]
    wrong += [n for n in names if not torch.equal(loaded["tensors"][n], tensors[n])]
    wrong += [n for n, kept in linear.state_dict().items() if not torch.equal(loaded["state"][n], kept)]
    ok = not wrong and loaded["epoch"] == 3
    return ok, f"not as saved: {', '.join(wrong)}" if wrong else f"{len(names)} types and a state_dict"


def check_classifier(torch: Any, expected: Any) -> Result:
    """Three times convolution, batch norm, ReLU and pooling, then a linear layer: as trained nets are run."""
    nn = torch.nn
    layers = []
    for i, (before, after) in enumerate(((3, 8), (8, 16), (16, 32))):
        conv, norm = nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)
        conv.weight.data = spread(torch, (after, before, 3, 3), 1001 + i, 31, 64).float()
        norm.weight.data = 1 + spread(torch, (after,), 1101 + i, 15, 16).float()
        norm.bias.data = spread(torch, (after,), 1201 + i, 15, 16).float()
        norm.running_mean = spread(torch, (after,), 1301 + i, 15, 32).float()
        norm.running_var = 1 + spread(torch, (after,), 1401 + i, 15, 16).float()
        layers += [conv, norm, nn.ReLU(), nn.MaxPool2d(2)]
    linear = nn.Linear(32 * 4 * 4, 10)
    linear.weight.data = spread(torch, (10, 512), 1504, 31, 128).float()
    linear.bias.data = spread(torch, (10,), 1601, 15, 16).float()
    model = nn.Sequential(*layers, nn.Flatten(), linear).eval()
    images = spread(torch, (2, 3, 32, 32), 1708, 255, 64).float()
    most = max(abs(value) for row in expected for value in row)
    best = torch.tensor(expected).argmax(1)
    told, ok = [], True
    for name, tolerance in (("contiguous", 1e-5), ("channels last", 1e-5), ("bfloat16 autocast", 3e-2)):
        layout = torch.channels_last if name == "channels last" else torch.contiguous_format
        autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "bfloat16 autocast")
        with torch.inference_mode(), autocast:
            logits = model(images.to(memory_format=layout)).float()
        share = apart(torch, logits, expected) / most
        ok = ok and share < tolerance and torch.equal(logits.argmax(1), best)
        told.append(f"{name} {share:.1e} (below {tolerance:.0e})")
    return ok, f"classes {best.tolist()}; errors, as parts of the largest logit: {', '.join(told)}"


def check_detector(torch: Any, expected: Any) -> Result:
    """A small single-shot detector: two maps of anchors, decoded, then non-maximum suppression."""

    def conv(x: Any, channels: int, seed: int, stride: int, divisor: int) -> Any:
        weight = spread(torch, (channels, x.shape[1], 3, 3), seed, 31, divisor).float()
        bias = spread(torch, (channels,), seed + 50, 15, 16).float()
        return torch.nn.functional.conv2d(x, weight, bias, stride=stride, padding=1)

    x = spread(torch, (1, 3, 48, 48), 2001, 255, 64).float()
    x = torch.relu(conv(x, 8, 2101, 2, 64))
    fine = torch.relu(conv(x, 16, 2102, 2, 64))
    coarse = torch.relu(conv(fine, 16, 2103, 2, 64))
    boxes, scores = [], []
    for level, features in enumerate((fine, coarse)):
        cells, step = features.shape[-1], 48 // features.shape[-1]
        anchors = torch.tensor([[2.5, 2.5], [3.5, 1.75]]) * step
        shift = conv(features, 8, 2201 + level, 1, 64)[0].permute(1, 2, 0).reshape(cells, cells, 2, 4)
        score = conv(features, 2, 2301 + level, 1, 32)[0].permute(1, 2, 0)
        middles = (torch.arange(cells) + 0.5) * step
        rows, columns = torch.meshgrid(middles, middles, indexing="ij")
        centre = torch.stack((columns, rows), -1)[:, :, None] + shift[..., :2] * anchors / 8
        half = anchors * torch.exp(shift[..., 2:] / 4) / 2
        boxes.append(torch.cat((centre - half, centre + half), -1).reshape(-1, 4))
        scores.append(torch.sigmoid(score).reshape(-1))
    box, likely = torch.cat(boxes), torch.cat(scores)
    order = torch.argsort(likely, descending=True)
    order = order[likely[order] > expected["threshold"]]
    candidates, kept = len(order), []
    while len(order):
        first, order = order[0], order[1:]
        kept.append(int(first))
        overlap = torch.minimum(box[first, 2:], box[order, 2:]) - torch.maximum(
            box[first, :2], box[order, :2]
        )
        shared = overlap.clamp(min=0).prod(-1)
        areas = (box[:, 2:] - box[:, :2]).prod(-1)
        order = order[shared / (areas[first] + areas[order] - shared) <= expected["overlap"]]
    if kept != expected["kept"] or candidates != expected["candidates"]:
        return False, f"{len(kept)} boxes of {candidates} candidates kept, not the stored ones"
    box_error = apart(torch, box[kept], expected["boxes"])
    score_error = apart(torch, likely[kept], expected["scores"])
    detail = f"{len(kept)} of {candidates} candidates kept, as stored; "
    detail += f"boxes {box_error:.1e} pixels off (below 1e-04), scores {score_error:.1e} (below 1e-05)"
    return box_error < 1e-4 and score_error < 1e-5, detail


def check_distributed(torch: Any, expected: Any) -> Result:
    """One rank by the public interface, then two ranks as threads that meet on the loopback device."""
    dist = torch.distributed
    if not (dist.is_available() and dist.is_gloo_available()):
        return False, "this torch has no torch.distributed with gloo"
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
        alone = spread(torch, (33,), 61, 17)
        dist.all_reduce(alone)
        dist.destroy_process_group()
    store, sums = dist.HashStore(), {}

    def rank(number: int) -> None:
        group = dist.ProcessGroupGloo(store, number, 2, timedelta(seconds=60))
        tensor = spread(torch, (33,), 61 + number, 17)
        group.allreduce([tensor]).wait()
        sums[number] = digest(torch, tensor)

    threads = [threading.Thread(target=rank, args=(number,), daemon=True) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    one = digest(torch, alone) == expected["one"]
    two = [sums.get(0), sums.get(1)] == [expected["two"]] * 2
    detail = f"gloo all_reduce: one rank {'right' if one else 'wrong'}, two {'right' if two else 'wrong'}"
    return one and two, detail


def check_rendezvous(torch: Any, _: Any) -> Result:
    """What torchrun does: ranks meet at a TCP store, whose server is libuv's unless somebody asks for another."""
    dist = torch.distributed
    store = dist.TCPStore("127.0.0.1", 0, 1, is_master=True, timeout=timedelta(seconds=60))
    other = dist.TCPStore("127.0.0.1", store.port, 1, is_master=False, timeout=timedelta(seconds=60))
    other.set("word", "met")
    met, libuv = store.get("word") == b"met", store.libuvBackend
    return (
        met and libuv,
        f"two clients {'met' if met else 'did not meet'}, {'by' if libuv else 'not by'} libuv",
    )


def check_rpc(torch: Any, _: Any) -> Result:
    """A call to oneself through an agent of tensorpipe."""
    dist = torch.distributed
    if not dist.rpc.is_available():
        return False, "this torch has no torch.distributed.rpc"
    os.environ["TP_SOCKET_IFNAME"] = "lo"
    with tempfile.TemporaryDirectory() as folder:
        options = dist.rpc.TensorPipeRpcBackendOptions(
            init_method=f"file://{folder}/store", _transports=["uv"], rpc_timeout=120
        )
        dist.rpc.init_rpc("self", rank=0, world_size=1, rpc_backend_options=options)
        found = dist.rpc.rpc_sync("self", torch.add, args=(torch.ones(3), 2))
        dist.rpc.shutdown()
    return found.tolist() == [3, 3, 3], f"torch.add of ones and 2, called by rpc: {found.tolist()}"


def check_profiler(torch: Any, _: Any) -> Result:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        torch.mm(torch.ones(8, 8), torch.ones(8, 8))
    names = {event.key for event in profile.key_averages()}
    recorded = "aten::mm" in names
    kineto = "with" if torch.profiler.kineto_available() else "without"
    return recorded, f"{'aten::mm recorded' if recorded else 'aten::mm not recorded'}, {kineto} kineto"


def check_kernels(torch: Any, expected: Any) -> Result:
    """The tuned kernels came with our own wheel, ``import torch`` has loaded them, and they are right."""
    ours, _, local = version("torch").partition("+")
    if ours not in expected["versions"] or not local:
        return True, "none in this wheel"
    pack = import_module("torch_tuned_kernels")
    taken = pack.taken_over()
    wrong = []
    for dtype in (torch.bfloat16, torch.float16):
        row, weight = (spread(torch, shape, 91, 7).to(dtype) for shape in ((1, 96), (64, 96)))
        calls = pack.calls("addmm")
        found = torch.nn.functional.linear(row, weight, torch.ones(64, dtype=dtype))
        exact = row.double() @ weight.double().T + 1
        if not torch.equal(found, exact.to(dtype)) or pack.calls("addmm") != calls + 1:
            wrong.append(str(dtype))
    why = f"wrong or not served: {', '.join(wrong)}" if wrong else pack.why_not()
    return bool(taken) and not why, why or f"{len(taken)} operations taken over; products of one row exact"


def check(name: str, expected: Any) -> Result:
    result: Result = globals()[f"check_{name}"](import_module("torch"), expected)
    return result


if __name__ == "__main__":
    stored = json.loads(Path(__file__).with_suffix(".json").read_text())["expected"]
    report({name: partial(check, name, expected) for name, expected in stored.items()}, vital="import")
