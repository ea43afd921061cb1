"""What it costs to make new files durable: one fsync a file, or one syncfs for all, in milliseconds of wall time.

    .venv/bin/python -m scripts.bench_sync --folder var

Files of 500 bytes are written into a temporary folder below FOLDER, and then synced. Each figure is the mean of
ROUNDS rounds. The load of the machine is printed too: other writers make each flush of the disk slower.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from index_server.store.durable import Durable, file_system, sync

NUMBERS = (1, 4, 8, 16)  # files at once


def each(paths: Sequence[Path], _: Path) -> None:
    """Sync one file after the other."""
    for path in paths:
        sync(path)


def together(paths: Sequence[Path], folder: Path) -> None:
    """Sync the file system once."""
    Durable(folder)(paths)


def measure(work: Callable[[Sequence[Path], Path], None], folder: Path, number: int, rounds: int) -> float:
    """Return the mean milliseconds to sync so many new files."""
    seconds = 0.0
    for turn in range(rounds):
        paths = [folder / f"{work.__name__}-{number}-{turn}-{file}" for file in range(number)]
        for path in paths:
            path.write_bytes(b"x" * 500)
        begun = time.perf_counter()
        work(paths, folder)
        seconds += time.perf_counter() - begun
    return seconds / rounds * 1e3


def main() -> None:
    """Measure both and print a table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--folder", type=Path, default=None, help="where the disk is; default: TMPDIR")
    options.add_argument("--rounds", type=int, default=30)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        print(f"{file_system(folder)}; load of the machine {os.getloadavg()[0]:.1f}")
        print(f"{'files':>6} {'fsync each, ms':>16} {'together, ms':>14}")
        for number in NUMBERS:
            row = [measure(work, folder, number, asked.rounds) for work in (each, together)]
            print(f"{number:6} {row[0]:16.1f} {row[1]:14.1f}")


if __name__ == "__main__":
    main()
