"""Show what programs see and choose on each server's stand-in, as a Markdown table (docs/evidence/servers.md).

    .venv/bin/python -m scripts.server_dispatch NUMPY_WHEEL    # PyPI's, whose OpenBLAS chooses its core at run time

Each row is one server of configs/servers.toml, under the emulator of `armwheels verify` and under the one of
`armwheels bench`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from builder.bench.counting import EMULATOR
from builder.emulation.emulate import PLUGIN_MODELS, StandIn, stand_in
from builder.emulation.environment import EmulatedPython, write_bytecode
from builder.emulation.install import install
from builder.emulation.roots import server_root
from builder.emulation.verify import what_it_lacks
from builder.load import load_configs
from builder.model.server import Server
from builder.targets import Target, Targets
from builder.toolbox.toolbox import Toolbox

PYTHON = "cp311"
SECONDS = 900
PROGRAM = """
import ctypes, glob, json, os
import numpy
from numpy._core._multiarray_umath import __cpu_features__
[path] = glob.glob(os.path.join(os.path.dirname(numpy.__file__), "../numpy.libs/libscipy_openblas64_*.so"))
corename = ctypes.CDLL(path).scipy_openblas_get_corename64_
corename.restype = ctypes.c_char_p
features = [name for name, has in __cpu_features__.items() if has and name.startswith(("ASIMD", "SVE", "FP"))]
print(json.dumps({"core": corename().decode(), "numpy": sorted(features)}))
"""


class Choice(NamedTuple):
    """What one server's stand-in shows, and what libraries choose there; ``lacks`` of the emulator of verify."""

    server: Server
    cpu: str
    counting_cpu: str
    lacks: tuple[str, ...]
    numpy: tuple[str, ...]
    core: str
    counting_core: str


def target_of(server: Server, targets: Targets) -> Target:
    """The target with the server's part number, with this server in place of its own."""
    found = next(target for target in targets.values() if server.part in target.parts)
    return found.with_server(server)


def install_numpy(toolbox: Toolbox, wheel: Path, site: Path) -> None:
    """Install a wheel for the emulated Python."""
    python = str(toolbox.build_python(PYTHON))
    install(wheel, site, ["--python-platform", "aarch64-manylinux_2_28", "--python", python])
    write_bytecode(toolbox, PYTHON, site)


def choices(toolbox: Toolbox, site: Path) -> Iterator[Choice]:
    """Run the program on every server's stand-in.

    Raises:
        VerifyError: a program would see something else than the server, or the emulated Python failed.
        CalledProcessError: NumPy cannot be imported.
    """
    configs = load_configs()
    for server in configs.servers.values():
        target = target_of(server, configs.targets)
        found, counting = stand_in(target), stand_in(target, models=PLUGIN_MODELS)
        emulated = EmulatedPython.standing_in(toolbox, PYTHON, found)
        lacks = what_it_lacks(found, emulated.shown())
        ran = _answer(emulated.command(["-c", PROGRAM]), site)
        counted = _answer(_counting_command(toolbox, emulated, counting), site)
        yield Choice(
            server=server,
            cpu=found.cpu,
            counting_cpu=counting.cpu,
            lacks=lacks,
            numpy=tuple(ran["numpy"]),
            core=str(ran["core"]),
            counting_core=str(counted["core"]),
        )


def _counting_command(toolbox: Toolbox, emulated: EmulatedPython, counting: StandIn) -> list[str]:
    program = toolbox.ensure(EMULATOR) / "usr/bin/qemu-aarch64"
    root = server_root(toolbox, PYTHON, counting.server)
    python = emulated.command([])[-1]
    return [str(program), "-L", str(root), "-cpu", counting.cpu, python, "-c", PROGRAM]


def _answer(command: list[str], site: Path) -> dict[str, list[str]]:
    environment = {"PYTHONPATH": str(site), "OPENBLAS_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=SECONDS
    )
    answer: dict[str, list[str]] = json.loads(done.stdout)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path, help="NumPy's wheel for aarch64 and CPython 3.11")
    wheel = parser.parse_args().wheel.resolve()
    toolbox = Toolbox()
    print("| server | `-cpu` of verify | lacks | NumPy's features | OpenBLAS's core, verify | bench |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        install_numpy(toolbox, wheel, site)
        for one in choices(toolbox, site):
            cells = (one.server.name, f"`{one.cpu}`", " ".join(one.lacks), " ".join(one.numpy), one.core)
            print(f"| {' | '.join(cells)} | {one.counting_core} |", flush=True)


if __name__ == "__main__":
    main()
