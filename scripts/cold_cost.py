"""Estimate the CPU time of a build without the compile cache, from a sample of its units.

    .venv/bin/python -m scripts.cold_cost WORK [--one-in 20]

WORK is the work folder of a build with CMake and ninja, below the state folder. The script runs one in N compile
commands again without ccache, discards the objects, and scales up their CPU time. It prints the estimate and its
standard error. The estimate does not include links, code generation and configuring.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.progress import track


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="a work folder with src/build/build.ninja")
    parser.add_argument("--one-in", type=int, default=20, help="run one of this many compile commands")
    asked = parser.parse_args()
    [ninja] = (asked.work.parents[1] / "envs").glob("pytorch-*/bin/ninja")
    folder = asked.work / "src/build"
    listing = subprocess.run([ninja, "-t", "compdb"], cwd=folder, capture_output=True, text=True, check=True)
    units = [unit for unit in json.loads(listing.stdout) if " -c " in unit["command"]]
    units.sort(key=lambda unit: str(unit["output"]))
    sample = units[asked.one_in // 2 :: asked.one_in]
    seconds = []
    with tempfile.TemporaryDirectory() as scratch:
        for unit in track(sample, "compiling", transient=True):
            command = unit["command"].replace(f"-o {unit['output']}", f"-o {scratch}/unit.o")
            command = command.replace(f"-MF {unit['output']}.d", f"-MF {scratch}/unit.d")
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            variables = {**os.environ, "CCACHE_DISABLE": "1"}
            done = subprocess.run(shlex.split(command), cwd=folder, env=variables, capture_output=True)
            if done.returncode:
                print(f"{unit['output']} does not compile: {done.stderr.decode()[-400:]}", file=sys.stderr)
                return 1
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    mean, error = statistics.fmean(seconds), statistics.stdev(seconds) / math.sqrt(len(seconds))
    print(f"{len(units)} units, {len(sample)} compiled: {mean:.1f} CPU-seconds each")
    print(f"all of them: {mean * len(units):.0f} ± {error * len(units):.0f} CPU-seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
