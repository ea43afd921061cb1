"""Runs wheels on this machine itself, where it is an Arm one whose CPU has what a target's wheels may use."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

from builder.emulation.environment import EmulatedPython
from builder.errors import ConfigError
from builder.machine import is_real
from builder.model.pythons import program_of
from builder.targets import Target, Targets
from builder.toolbox.toolbox import Toolbox

CPUINFO = Path("/proc/cpuinfo")


def own_cpu(target: Target, targets: Targets) -> str:
    """The CPU of this machine in a sentence, if wheels for ``target`` run on it; else empty.

    A machine that is emulated itself says so: its times and its faults are not those of the CPU.
    """
    machine = platform.machine()
    if machine != "aarch64":
        return ""
    try:
        fit = targets.host_fit(CPUINFO.read_text(encoding="utf-8", errors="replace"))
    except (ConfigError, OSError):
        return ""
    if fit.why_not(target):
        return ""
    named = (fit.named or fit.target).description
    return f"this machine, {named}" + ("" if is_real(machine) else ", which is emulated itself")


class NativePython(EmulatedPython):
    """The CPython of one tag on this machine, without an emulator; ``cpu`` is the sentence of :func:`own_cpu`."""

    def __init__(self, toolbox: Toolbox, tag: str, cpu: str) -> None:
        super().__init__(toolbox, tag, cpu)
        self._program = toolbox.build_python(tag)

    def command(
        self, arguments: Sequence[str], *, environment: Path | None = None, preload: Sequence[Path] = ()
    ) -> list[str]:
        """The command line that runs Python, or the one of a virtual environment, with ``arguments``."""
        python = environment / "bin" / program_of(self.tag) if environment else self._program
        seen = ["/usr/bin/env", f"LD_PRELOAD={':'.join(map(str, preload))}"] if preload else []
        return [*seen, str(python), *arguments]
