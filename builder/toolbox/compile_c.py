"""Compiles one file of C for the toolbox's own use: a plugin of the emulator, a loader for a root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from builder.errors import ToolboxError
from builder.toolbox.toolbox import Toolbox


def compile_shared(
    toolbox: Toolbox, source: Path, output: Path, *, target: str, cache: Path, options: Sequence[str] = ()
) -> None:
    """Compile ``source`` with zig to the shared object ``output``.

    Args:
        target: the machine as zig names it, with the oldest glibc, such as ``x86_64-linux-gnu.2.17``.
        cache: a folder for zig's temporary files. The caller deletes it.

    Raises:
        ToolboxError: the source does not compile; the message has the end of the compiler's output.
    """
    done = subprocess.run(
        [
            *(str(toolbox.zig()), "cc", "-target", target, "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"),
            *("-shared", "-fPIC", "-s", *options, "-o", str(output), str(source)),
        ],
        env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ToolboxError(f"{source.name} does not compile:\n{done.stderr.strip()[-2000:]}")
