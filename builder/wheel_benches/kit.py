"""What every script here has in common: it lists its workloads, and runs the named ones counted or timed.

    numpy_bench.py list                      one JSON line a workload
    numpy_bench.py count CALLS NAME...       under the emulator, marks set for its counting plugin
    numpy_bench.py time SECONDS NAME...      on a real machine

It runs inside the environment that is measured, so it needs nothing but Python. ``count`` and ``time`` import the
package first, as a workload named ``import``. A line says ``ran``, ``unavailable`` (this build does not have it,
and why) or ``failed``. Counted, it names the marks before, between and after its calls, the first calls left out
since they fill caches; timed, it gives seconds a call.
"""

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

MARK = -0x41726D  # what count.c waits for; on a real machine a file that is never open
IMPORT = "import"
_WARM_UPS = 2
_SAMPLES = (5, 40)
_SAMPLE_SECONDS = 0.01

Run = Callable[[], object]


class Unavailable(Exception):  # noqa: N818 - an answer, not a fault
    """The wheel was built without what the workload needs; the text says what."""


@dataclass(frozen=True)
class Workload:
    """One thing to measure, at a fixed size. ``prepare`` makes the inputs and returns what is to be measured."""

    name: str
    about: str
    prepare: Callable[[], Run]


def main(package: str, workloads: tuple[Workload, ...]) -> None:
    """Answer one of the three commands on standard output, a JSON line each."""
    command, *rest = sys.argv[1:]
    if command == "list":
        for workload in workloads:
            _say(workload=workload.name, about=workload.about)
        return
    known = {workload.name: workload for workload in workloads}
    amount, *names = rest
    gc.disable()
    measure = _Counter(int(amount)) if command == "count" else _Stopwatch(float(amount))
    _attempt(IMPORT, lambda: measure.once(lambda: importlib.import_module(package)))
    for name in names:
        _attempt(name, partial(_prepared, measure, known[name]))


def _prepared(measure: Callable[[Run], dict[str, object]], workload: Workload) -> dict[str, object]:
    return measure(workload.prepare())


def _attempt(name: str, measured: Callable[[], dict[str, object]]) -> None:
    # Said before, so that a process that dies in here is known to have died of this.
    _say(workload=name, state="started")
    try:
        _say(workload=name, state="ran", **measured())
    except Unavailable as reason:
        _say(workload=name, state="unavailable", detail=str(reason))
    except Exception as error:
        said = str(error).strip().splitlines() or [""]
        _say(workload=name, state="failed", detail=f"{type(error).__name__}: {said[0][:200]}")
    gc.collect()


class _Counter:
    """Sets a mark before the first call and after each; the plugin writes down how far it had counted."""

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._number = 0

    def once(self, run: Run) -> dict[str, object]:
        return self._between(run, 1)

    def __call__(self, run: Run) -> dict[str, object]:
        for _ in range(_WARM_UPS):
            run()
        return self._between(run, self._calls)

    def _between(self, run: Run, calls: int) -> dict[str, object]:
        marks = list(range(self._number, self._number + calls + 1))
        self._number = marks[-1] + 1
        _mark(marks[0])
        for mark in marks[1:]:
            run()
            _mark(mark)
        return {"marks": marks}


class _Stopwatch:
    """Samples of at least 10 ms each, for about ``seconds`` in all; each value is seconds a call."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def once(self, run: Run) -> dict[str, object]:
        return {"seconds": [_timed(run, 1)]}

    def __call__(self, run: Run) -> dict[str, object]:
        for _ in range(_WARM_UPS):
            run()
        calls = max(1, round(_SAMPLE_SECONDS / max(_timed(run, 1), 1e-9)))
        samples: list[float] = []
        least, most = _SAMPLES
        while len(samples) < least or (sum(samples) * calls < self._seconds and len(samples) < most):
            samples.append(_timed(run, calls) / calls)
        return {"seconds": samples}


def _timed(run: Run, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return time.perf_counter() - start


def _mark(number: int) -> None:
    try:
        os.lseek(MARK, number, os.SEEK_SET)
    except OSError:
        return  # as it must: no such file


def _say(**line: object) -> None:
    print(json.dumps(line), flush=True)
