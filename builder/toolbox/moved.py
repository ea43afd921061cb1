"""Keeps a state folder usable after it was moved or copied.

Programs of the toolbox, build environments and build folders contain their own path. Each of these folders has a
file with the path at which it was made. If the folder is elsewhere now, its content is deleted and made again: the
toolbox is unpacked from the kept downloads, and the compile cache answers for what was compiled.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from builder.whole import write_text

BOUND = ("toolbox", "envs", "work")
"""Folders of the state folder whose content holds their path."""

STAMP = ".path"


def clear_moved(home: Path, report: Callable[[str], None]) -> None:
    """Delete what is bound to another path, and stamp each folder with its own.

    A folder without a stamp is taken to be in its place. Killed at any moment, the next call goes on: the stamp is
    written last.
    """
    for name in BOUND:
        folder = home / name
        if not folder.is_dir():
            continue
        here, stamp = str(folder.resolve()), folder / STAMP
        if _read(stamp) == here:
            continue
        with FileLock(f"{folder.resolve()}.lock"):
            made_at = _read(stamp)
            if made_at == here:
                continue
            if made_at is not None:
                report(f"{name} was made in {made_at}: it holds that path, and is made again here")
                _empty(folder)
            write_text(stamp, here)


def _read(stamp: Path) -> str | None:
    return stamp.read_text(encoding="utf-8") if stamp.is_file() else None


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name == STAMP:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
