"""Root folders in which emulated programs see a server: its capabilities, ``/proc/cpuinfo`` and part number.

The emulator first looks below its root for each file that a program opens (``-L``). A root has the toolbox's
userland by hard links, and these files of its own:

``lib/ld-linux-aarch64.so.1``
    ``loader.c``, which takes from ``AT_HWCAP`` and ``AT_HWCAP2`` what the server does not report, then starts the
    C library's loader, ``server/loader.so``.
``proc/cpuinfo``, ``server/cpuinfo``
    The server's, once for each processor of this machine: the emulator passes the affinity and the number of the
    current processor through, and libraries look that number up.
``server/preload.so``
    ``cpuinfo.c``, for emulators that do not look for ``/proc/cpuinfo`` in the root.
``sys/devices/system/cpu``
    The processors, and the main ID register of each (``midr_el1``).

What a root does not change: programs linked statically see the model's own capabilities, every program can read the
model's other ID registers, and what the server lacks and the model has still runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from builder.model.server import Server
from builder.toolbox.compile_c import compile_shared
from builder.toolbox.toolbox import Toolbox
from builder.whole import create_once

ROOT_VERSION = 1
"""Raise this by hand when the content of a root changes. It enters the key of every check under emulation."""
PRELOAD = "/server/preload.so"

_LOADER = Path(__file__).with_name("loader.c")
_CPUINFO = Path(__file__).with_name("cpuinfo.c")
_TARGET = "aarch64-linux-gnu.2.31"


def root_key(toolbox: Toolbox, server: Server) -> str:
    """The digest of what a root is made from, without the userland and the number of processors."""
    return _digest(
        [
            ROOT_VERSION,
            server.model_dump(mode="json"),
            _LOADER.read_text(encoding="utf-8"),
            _CPUINFO.read_text(encoding="utf-8"),
            toolbox.pins.digest("zig"),
        ]
    )


def server_root(toolbox: Toolbox, tag: str, server: Server) -> Path:
    """Return the root folder for ``server`` with the CPython of ``tag``, made once for each content.

    Raises:
        ToolboxError: a file does not compile.
    """
    userland = toolbox.userland(tag)
    processors = os.cpu_count() or 1
    key = _digest([root_key(toolbox, server), userland.name, processors])
    # Beside the userland, and so on its file system: hard links do not lead to another.
    final = userland.with_name(f"server-{server.name}-{tag}-{key[:12]}")

    def make(root: Path) -> None:
        shutil.copytree(userland, root, symlinks=True, copy_function=os.link)
        (root / "server").mkdir()
        _put_loader(toolbox, server, root)
        _compile(
            toolbox,
            _CPUINFO,
            root / PRELOAD[1:],
            ["-Wl,-z,undefs", f"-DCPUINFO={_quoted('/server/cpuinfo')}"],
        )
        text = server.cpuinfo(processors)
        for name in ("server/cpuinfo", "proc/cpuinfo"):
            _write(root / name, text)
        _put_processors(server, processors, root / "sys/devices/system/cpu")

    return create_once(final, make)


def _put_loader(toolbox: Toolbox, server: Server, root: Path) -> None:
    loader = root / "lib/ld-linux-aarch64.so.1"
    os.link(loader.resolve(strict=True), root / "server/loader.so")
    loader.unlink()
    hwcap, hwcap2 = server.hwcap
    options = (
        f"-DHWCAP=0x{hwcap:x}UL",
        f"-DHWCAP2=0x{hwcap2:x}UL",
        f"-DLOADER={_quoted('/server/loader.so')}",
    )
    _compile(toolbox, _LOADER, loader, ["-Wl,-e,_start", *options])


def _put_processors(server: Server, processors: int, folder: Path) -> None:
    numbers = f"0-{processors - 1}\n" if processors > 1 else "0\n"
    for name in ("possible", "present", "online"):
        _write(folder / name, numbers)
    for number in range(processors):
        register = folder / f"cpu{number}/regs/identification/midr_el1"
        _write(register, f"0x{server.midr:016x}\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")


def _compile(toolbox: Toolbox, source: Path, output: Path, options: Sequence[str]) -> None:
    free_standing = ("-nostdlib", "-fno-builtin", "-fno-stack-protector")
    # Beside the root, in the private folder that is deleted when it is complete.
    cache = output.parents[2] / "cache"
    compile_shared(toolbox, source, output, target=_TARGET, cache=cache, options=[*free_standing, *options])


def _quoted(text: str) -> str:
    return f'"{text}"'


def _digest(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
