"""What it costs to make new files durable: one by one, together, by threads, or the whole disk. Milliseconds.

    .venv/bin/python -m scripts.bench_sync --folder var

Files of 500 bytes are written into a temporary folder below FOLDER, and then synced in four ways: by one fsync
after the other; together by one thread, as the store does it for folders; by several threads, as it does for files
(index_server/store/durable.py); and by one sync of the file system (with the start of a program). Each figure is
the mean of ROUNDS rounds, then the longest round. With --writing MB, another program writes so much to the same
disk meanwhile.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from index_server.store.durable import file_system, make_durable, sync_files

NUMBERS = (1, 4, 8, 16, 32, 64)  # files at once


def one_by_one(paths: Sequence[Path]) -> None:
    """Sync one file after the other."""
    for path in paths:
        make_durable([path])


def by_threads(paths: Sequence[Path]) -> None:
    """Sync open files by several threads."""
    with ExitStack() as ends:
        sync_files([ends.enter_context(path.open("rb")).fileno() for path in paths])


def whole_disk(paths: Sequence[Path]) -> None:
    """Sync the file system (syncfs(2))."""
    subprocess.run(["sync", "--file-system", paths[0].parent], check=True)


def measure(work: Callable[[Sequence[Path]], None], folder: Path, number: int, rounds: int) -> str:
    """Return the mean and the greatest milliseconds to sync so many new files."""
    milliseconds = []
    for turn in range(rounds):
        paths = [folder / f"{work.__name__}-{number}-{turn}-{file}" for file in range(number)]
        for path in paths:
            path.write_bytes(b"x" * 500)
        begun = time.perf_counter()
        work(paths)
        milliseconds.append((time.perf_counter() - begun) * 1e3)
    return f"{statistics.mean(milliseconds):8.1f} {max(milliseconds):8.1f}"


@contextmanager
def writing(folder: Path, megabytes: int) -> Iterator[None]:
    """Let another program write so much into ``folder`` meanwhile."""
    command = ["dd", "if=/dev/zero", f"of={folder}/written", "bs=1M", f"count={megabytes}", "status=none"]
    program = subprocess.Popen(command)
    try:
        yield
    finally:
        program.kill()
        program.wait()
        (folder / "written").unlink(missing_ok=True)


def main() -> None:
    """Measure both and print a table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--folder", type=Path, default=None, help="where the disk is; default: TMPDIR")
    options.add_argument("--rounds", type=int, default=30)
    options.add_argument("--writing", type=int, default=0, metavar="MB")
    asked = options.parse_args()
    ways = (one_by_one, make_durable, by_threads, whole_disk)
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        print(f"{file_system(folder)}; load of the machine {os.getloadavg()[0]:.1f}")
        print(f"{'files':>6} {'one by one':>17} {'together':>17} {'by threads':>17} {'the whole disk':>17}")
        for number in NUMBERS:
            row = []
            for work in ways:
                with writing(folder, asked.writing):
                    row.append(measure(work, folder, number, asked.rounds))
                os.sync()
            print(f"{number:6} {' '.join(row)}")


if __name__ == "__main__":
    main()
