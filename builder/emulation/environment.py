"""An arm64 CPython under qemu-user.

The emulator is always an explicit command: binfmt_misc needs root and is not set up on most machines.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.emulation.emulate import StandIn
from builder.emulation.roots import PRELOAD, server_root
from builder.errors import VerifyError
from builder.model.base import Frozen
from builder.model.pythons import program_of, version_of
from builder.model.server import Server, names_of
from builder.toolbox.toolbox import Toolbox
from builder.whole import create_once

_SHOWN = Path(__file__).with_name("shown.py")


class Shown(Frozen):
    """What an emulated program sees of the CPU; each pair is ``AT_HWCAP`` and ``AT_HWCAP2``."""

    getauxval: tuple[int, int]
    auxv: tuple[int, int]
    cpuinfo: str
    midr: tuple[int, ...]
    vector_bits: int

    @property
    def flags(self) -> frozenset[str]:
        """The names of the features of getauxval(3)."""
        return names_of(*self.getauxval)


def python_of(environment: Path) -> str | None:
    """Return the Python tag that ``pyvenv.cfg`` of a virtual environment states (:pep:`405`), if there is one."""
    try:
        lines = (environment / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() == "version" and (match := re.match(r"(3)\.([0-9]+)\b", value.strip())):
            return f"cp{match[1]}{match[2]}"
    return None


class EmulatedPython:
    """Runs the CPython of one tag on one CPU model, with the toolbox's userland or another folder as ``root``.

    Programs see the capabilities and the part number of ``server``, or those of the model if there is none.
    """

    def __init__(
        self, toolbox: Toolbox, tag: str, cpu: str, *, root: Path | None = None, server: Server | None = None
    ) -> None:
        self.toolbox = toolbox
        self.tag = tag
        self.cpu = cpu
        self._prefix = server_root(toolbox, tag, server) if server is not None else None
        self._qemu = toolbox.qemu()
        self._root = root or toolbox.userland(tag)
        self._pip = toolbox.ensure("pip")
        write_bytecode(toolbox, tag, self._root / "usr/lib" / program_of(tag), self._pip)

    @classmethod
    def standing_in(cls, toolbox: Toolbox, tag: str, stand_in: StandIn) -> EmulatedPython:
        """The CPython of a tag on the stand-in for a server."""
        return cls(toolbox, tag, stand_in.cpu, server=stand_in.server)

    def shown(self) -> Shown:
        """What programs see of the CPU.

        Raises:
            VerifyError: the emulated Python failed.
        """
        done = self.run([str(_SHOWN)])
        if done.returncode:
            raise VerifyError(f"the emulated CPU could not be examined: {done.stderr.strip()[-500:]}")
        return Shown.model_validate_json(done.stdout)

    def command(
        self, arguments: Sequence[str], *, environment: Path | None = None, preload: Sequence[Path] = ()
    ) -> list[str]:
        """The command line that runs Python, or the one of a virtual environment, with ``arguments``.

        ``preload`` are libraries that the loader loads before all others.
        """
        python = (environment or self._root / "usr") / "bin" / program_of(self.tag)
        first = [*([PRELOAD] if self._prefix is not None else []), *map(str, preload)]
        seen = ["-E", f"LD_PRELOAD={':'.join(first)}"] if first else []
        prefix = str(self._prefix or self._root)
        return [str(self._qemu), "-L", prefix, "-cpu", self.cpu, *seen, str(python), *arguments]

    def variables(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The user's environment variables, without those for this machine's Python, and with pip's path."""
        dropped = ("PYTHON", "PIP_FIND_LINKS", "LD_", "VIRTUAL_ENV", "OPENBLAS_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        paths = [str(self._pip), *((extra or {}).get("PYTHONPATH", "").split(":"))]
        joined = ":".join(path for path in paths if path)
        return {
            **kept,
            # pip reads PIP_NO_COMPILE as the value of --compile: 0 means that it writes no bytecode.
            # https://pip.pypa.io/en/stable/topics/configuration/
            "PIP_NO_COMPILE": "0",
            "OPENBLAS_NUM_THREADS": "2",
            **(extra or {}),
            "PYTHONPATH": joined,
        }

    def run(
        self,
        arguments: Sequence[str],
        *,
        environment: Path | None = None,
        extra: Mapping[str, str] | None = None,
        preload: Sequence[Path] = (),
        cwd: Path | None = None,
        timeout: float = 600,
    ) -> subprocess.CompletedProcess[str]:
        """Run Python and capture its output; ``timeout`` is in seconds, ``preload`` as for :meth:`command`.

        Raises:
            VerifyError: the emulator cannot be started, or the command did not end in time.
        """
        try:
            return subprocess.run(
                self.command(arguments, environment=environment, preload=preload),
                env=self.variables(extra),
                cwd=cwd or self.toolbox.home,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            raise VerifyError(
                f"{' '.join(arguments[:2])} ran for more than {timeout:.0f} s under emulation"
            ) from error
        except OSError as error:
            raise VerifyError(f"the emulator could not be started: {error}") from error

    def create_environment(self, folder: Path) -> Path:
        """Make a new virtual environment (:pep:`405`) in ``folder`` with the arm64 Python.

        Raises:
            VerifyError: the emulated Python failed.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        done = self.run(["-m", "venv", "--without-pip", str(folder)], cwd=folder.parent)
        if done.returncode:
            raise VerifyError(
                f"a virtual environment could not be made under emulation: {done.stderr.strip()[-500:]}"
            )
        return folder


def write_bytecode(toolbox: Toolbox, tag: str, *folders: Path) -> None:
    """Compile the modules in ``folders`` to bytecode, once, by this machine's CPython of the same version.

    Bytecode is the same on every CPU. Debian's packages have none, so that under emulation each start would compile
    all imports. Files that are not valid for this version are skipped; nothing imports them.
    """
    python = toolbox.build_python(tag)
    for folder in folders:
        done = folder / f".bytecode-{tag}"
        if not done.exists():
            subprocess.run(
                [str(python), "-m", "compileall", "-q", "-j", str(os.cpu_count() or 1), str(folder)],
                capture_output=True,
                check=False,
            )
            done.touch()


def install_requirements(toolbox: Toolbox, lock: Path, tag: str) -> Path:
    """Install the hashed packages of a lock file for aarch64, once, by this machine's pip; returns their folder.

    Raises:
        VerifyError: pip refuses a package.
    """
    named = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = toolbox.home / "envs" / f"{lock.stem}-{named}"

    def install(path: Path) -> None:
        platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in (17, 27, 28)]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
                *("--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-compile"),
                *("--implementation", "cp", "--python-version", version_of(tag)),
                *(*platforms, "--platform=manylinux2014_aarch64", "--target", str(path), "-r", str(lock)),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=path.parent,
        )
        if done.returncode:
            raise VerifyError(f"{lock.name} could not be installed: {done.stderr.strip()[-800:]}")
        write_bytecode(toolbox, tag, path)

    return create_once(folder, install)
