"""The index that a command uses: a remote one, or one started on loopback for this command."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from builder.errors import ArmwheelsError, ConfigError, PublishError
from builder.index.client import Index
from builder.settings import index_url, variable

START_SECONDS = 60  # until the local index must answer


def _end_with_parent() -> None:
    """Ask the kernel to end this process when its parent dies, however it dies (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def kill_with_parent() -> None:
    """The same, for a program that would take its time."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@contextmanager
def open_index(home: Path, *, write: bool = True, scopes: tuple[str, ...] = ()) -> Iterator[Index]:
    """The index of ``ARMWHEELS_INDEX`` with ``ARMWHEELS_TOKEN``, else one on loopback for this block.

    The token made for the local index allows what publishing needs, or ``scopes``.

    Raises:
        ConfigError: ``ARMWHEELS_INDEX`` is no URL, or the local index refuses ``configs/``.
        PublishError: the local index does not start; the message holds its output.
    """
    if url := index_url():
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"ARMWHEELS_INDEX is {url!r}; write a URL such as https://wheels.example")
        with Index(url, variable("ARMWHEELS_TOKEN")) as index:
            yield index
        return
    program = index_program()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = {**os.environ, "ARMWHEELS_HOME": str(home)}
        token = _run_token(program, environment, scopes) if write or not _open_reads() else None
        ready, log = scratch / "ready", scratch / "log"
        server = subprocess.Popen(
            [program, "serve", "--port", "0", "--ready-file", str(ready)],
            env=environment,
            stdout=stack.enter_context(log.open("w")),
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent,
        )
        stack.callback(_stop, server)
        deadline = time.monotonic() + START_SECONDS
        while not ready.is_file():
            if server.poll() is not None:
                raise _failure("the local index did not start", server.poll(), log.read_text()[-2000:])
            if time.monotonic() > deadline:
                raise PublishError(
                    f"the local index did not answer within {START_SECONDS} s; run the command again when the "
                    f"machine is less busy, or name a running index with ARMWHEELS_INDEX\n{log.read_text()[-2000:]}"
                )
            time.sleep(0.05)
        yield stack.enter_context(Index(ready.read_text().strip(), token))


def index_program() -> str:
    return str(Path(sys.executable).parent / "armwheels-index")


def _open_reads() -> bool:
    return variable("ARMWHEELS_READS") in (None, "open")


def _run_token(program: str, environment: dict[str, str], scopes: tuple[str, ...]) -> str:
    """A token for this command, which expires after two days."""
    allowed = [part for scope in scopes for part in ("--scope", scope)]
    made = subprocess.run(
        [program, "token", "--name", "this run", "--expires-days", "2", *allowed],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise _failure("the local index made no token", made.returncode, made.stderr)
    return made.stdout.strip().splitlines()[-1]


def _failure(what: str, exit_code: int | None, output: str) -> ArmwheelsError:
    """The error for a local index that failed; both programs have the same exit code for faults in ``configs/``."""
    error = ConfigError if exit_code == ConfigError.exit_code else PublishError
    return error(f"{what}: {output.strip()}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(timeout=10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
