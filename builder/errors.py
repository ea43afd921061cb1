"""Every failure a user can meet, as a class with its own exit code.

A message says what happened, then what to do. They are caught once, in :mod:`builder.cli`.
"""

from __future__ import annotations

import errno
from typing import ClassVar


class ArmwheelsError(Exception):
    """Base of every error that becomes a sentence and an exit code instead of a traceback."""

    exit_code: ClassVar[int] = 1


class ConfigError(ArmwheelsError):
    """A file in ``configs/`` or a setting is wrong; the message lists every fault at once."""

    exit_code = 3


class ToolboxError(ArmwheelsError):
    """A compiler, Python, sysroot or emulator could not be fetched or does not match its pin."""

    exit_code = 4


class SourceError(ArmwheelsError):
    """A source could not be fetched, does not match its hash, or a patch does not apply."""

    exit_code = 5


class CompileError(ArmwheelsError):
    """The package's own build failed, or gave something other than the one wheel expected."""

    exit_code = 6


class RepairError(ArmwheelsError):
    """The compiled wheel cannot be made portable, or is not what its build promised."""

    exit_code = 7


class AuditError(ArmwheelsError):
    """A wheel cannot be read at all, so that no verdict about it is possible."""

    exit_code = 8


class VerifyError(ArmwheelsError):
    """The emulated environment could not be made; a failed test is a verdict, not this error."""

    exit_code = 9


class PublishError(ArmwheelsError):
    """The index refused a request or could not be reached."""

    exit_code = 10


class IncompleteError(ArmwheelsError):
    """A run ended with cells missing; the report names each one and why."""

    exit_code = 11


class DiskError(ArmwheelsError):
    """The machine refused to write a file: most often its disk is full."""

    exit_code = 12


class StoppedError(ArmwheelsError):
    """Somebody stopped the run, by Ctrl-C or SIGTERM (128 + SIGINT, as shells have it)."""

    exit_code = 130


def as_disk_error(error: OSError) -> DiskError | None:
    """What to tell people of a disk that takes no more (errno(3)); ``None`` for any other error."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return None
    where = f" ({error.filename})" if error.filename else ""
    return DiskError(
        f"{error.strerror}{where}. Nothing half-made is published; make room, or set ARMWHEELS_HOME to a larger "
        "disk, and run the same command again: it goes on from what is done"
    )
