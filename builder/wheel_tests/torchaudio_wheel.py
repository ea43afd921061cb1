"""Runs inside the emulated environment: are this torchaudio's compiled operations right?

Each is compared with plain Python: a recursion, or the sum over all paths of a small case. One JSON line a check.
"""

import itertools
import math
from functools import partial
from importlib.metadata import version
from typing import Any

from kit import Result, report


def numbers(torch: Any, shape: tuple[int, ...], seed: int, span: int = 251) -> Any:
    """Values from -1 to 1, the same on every machine."""
    n = torch.arange(math.prod(shape), dtype=torch.int64)
    return (((3 * n * n + seed * n) % 65521 % span).double() * 2 / (span - 1) - 1).reshape(shape)


def check_import(_: Any) -> Result:
    import torchaudio
    from torchaudio import _extension

    expected = version("torchaudio").split("+")[0]
    parts = (
        _extension._IS_TORCHAUDIO_EXT_AVAILABLE,
        _extension._IS_RIR_AVAILABLE,
        _extension._IS_ALIGN_AVAILABLE,
    )
    ok = torchaudio.__version__.split("+")[0] == expected and all(parts)
    return ok, f"torchaudio {torchaudio.__version__}; library, rooms, alignment {parts}"


def check_lfilter(torch: Any) -> Result:
    from torchaudio.functional import lfilter

    a, b = [1.0, -0.6, 0.2], [0.3, 0.4, -0.1]
    signals = numbers(torch, (3, 400), 7)
    found = lfilter(signals, torch.tensor(a).double(), torch.tensor(b).double(), clamp=False)
    plain = []
    for signal in signals.tolist():
        out: list[float] = []
        for n in range(len(signal)):
            value = sum(b[k] * signal[n - k] for k in range(3) if n >= k)
            out.append(value - sum(a[k] * out[n - k] for k in (1, 2) if n >= k))
        plain.append(out)
    error = float((found - torch.tensor(plain).double()).abs().max())
    return error < 1e-12, f"largest error {error:.1e} (below 1e-12)"


def check_overdrive(torch: Any) -> Result:
    signal = numbers(torch, (1, 300), 11)
    temp = signal.clone() * 3
    last_in, last_out = torch.zeros(1).double(), torch.zeros(1).double()
    found = torch.zeros(1, 300).double()
    torch.ops.torchaudio._overdrive_core_loop(signal, temp.clone(), last_in, last_out, found)
    before_in = before_out = error = 0.0
    for n in range(300):
        before_out = float(temp[0, n]) - before_in + 0.995 * before_out
        before_in = float(temp[0, n])
        error = max(error, abs(float(found[0, n]) - (float(signal[0, n]) * 0.5 + before_out * 0.75)))
    return error < 1e-12, f"largest error {error:.1e} (below 1e-12)"


def check_rnnt_loss(torch: Any) -> Result:
    from torchaudio.functional import rnnt_loss

    frames, labels, kinds, targets = 4, 3, 5, [1, 3, 2]
    logits = numbers(torch, (1, frames, labels + 1, kinds), 13).float().requires_grad_()
    lengths = [torch.tensor([value], dtype=torch.int32) for value in (frames, labels)]
    given = torch.tensor([targets], dtype=torch.int32)
    loss = rnnt_loss(logits, given, *lengths, blank=0)
    loss.backward()
    log = torch.log_softmax(logits.detach().double(), -1)[0]
    total = 0.0
    # A path goes through all frames by blanks and emits the labels between; its last step is a blank.
    for ups in itertools.combinations(range(frames + labels - 1), labels):
        t = u = 0
        weight = 0.0
        for step in range(frames + labels - 1):
            if step in ups:
                weight += float(log[t, u, targets[u]])
                u += 1
            else:
                weight += float(log[t, u, 0])
                t += 1
        total += math.exp(weight + float(log[t, u, 0]))
    error = abs(float(loss) + math.log(total))
    gradients = logits.grad is not None and float(logits.grad.sum(-1).abs().max()) < 1e-5
    return (
        error < 1e-5 and gradients,
        f"loss off by {error:.1e} (below 1e-5), gradients sum to zero: {gradients}",
    )


def check_forced_align(torch: Any) -> Result:
    from torchaudio.functional import forced_align

    frames, targets = 6, [1, 2]
    log = torch.log_softmax(numbers(torch, (1, frames, 4), 17).float() * 3, -1)
    path, scores = forced_align(log, torch.tensor([targets], dtype=torch.int32), blank=0)

    def collapsed(labels: tuple[int, ...]) -> list[int]:
        return [label for label, _ in itertools.groupby(labels) if label]

    best = max(
        (labels for labels in itertools.product(range(4), repeat=frames) if collapsed(labels) == targets),
        key=lambda labels: sum(float(log[0, t, label]) for t, label in enumerate(labels)),
    )
    same = tuple(path[0].tolist()) == best
    error = max(abs(float(scores[0, t]) - float(log[0, t, label])) for t, label in enumerate(best))
    return same and error < 1e-6, f"the best of 4^6 labellings: {same}, scores off by {error:.1e}"


def check_room(torch: Any) -> Result:
    from torchaudio.prototype.functional import ray_tracing, simulate_rir_ism

    room, source = torch.tensor([9.0, 7.0, 3.0]), torch.tensor([1.0, 2.0, 1.0])
    microphone = torch.tensor([[4.0, 6.0, 1.0]])
    found = simulate_rir_ism(room, source, microphone, 0, 0.2, output_length=400)[0]
    # Five metres at 343 m/s and 16 kHz, after half of the filter's 81 taps.
    expected = 5 / 343 * 16000 + 40
    peak = int(found.abs().argmax())
    rays = ray_tracing(room, source, microphone, num_rays=500, absorption=0.3)
    energy = bool((rays >= 0).all()) and float(rays.sum()) > 0
    return abs(
        peak - expected
    ) <= 1 and energy, f"peak at {peak}, expected {expected:.1f}; energy of rays {energy}"


def check_resample(torch: Any) -> Result:
    from torchaudio.functional import resample

    time = torch.arange(1600).double() / 16000
    found = resample(torch.sin(2 * math.pi * 440 * time), 16000, 8000)
    expected = torch.sin(2 * math.pi * 440 * torch.arange(800).double() / 8000)
    error = float((found[50:-50] - expected[50:-50]).abs().max())
    return len(found) == 800 and error < 1e-2, f"a tone of 440 Hz, largest error {error:.1e} (below 1e-2)"


def check_spectrum(torch: Any) -> Result:
    from torchaudio.transforms import InverseSpectrogram, MelSpectrogram, Spectrogram

    signal = numbers(torch, (1, 2000), 19).float()
    back = InverseSpectrogram(n_fft=200)(Spectrogram(n_fft=200, power=None)(signal), 2000)
    error = float((back - signal).abs().max())
    mel = MelSpectrogram(16000, n_fft=200, n_mels=20)(signal)
    ok = error < 1e-4 and mel.shape == (1, 20, 21) and bool((mel >= 0).all())
    return ok, f"there and back {error:.1e} (below 1e-4), mel {tuple(mel.shape)}"


if __name__ == "__main__":
    import torch

    report(
        {
            "import": partial(check_import, torch),
            "lfilter": partial(check_lfilter, torch),
            "overdrive": partial(check_overdrive, torch),
            "rnnt loss": partial(check_rnnt_loss, torch),
            "forced alignment": partial(check_forced_align, torch),
            "room": partial(check_room, torch),
            "resample": partial(check_resample, torch),
            "spectrum": partial(check_spectrum, torch),
        },
        vital="import",
    )
