"""Errors that a user may see, each class with its own exit code.

A message says what happened, then what to do. :mod:`builder.commands.terminal` catches them. The first sentence of
each docstring is the meaning of its exit code in ``docs/reference``.
"""

from __future__ import annotations

import errno
import os
from typing import ClassVar


class ArmwheelsError(Exception):
    """Base of all errors that end a command with a message and an exit code, without a traceback."""

    exit_code: ClassVar[int] = 1


class ConfigError(ArmwheelsError):
    """A file in ``configs/``, a setting or an argument is wrong; the message lists every fault."""

    exit_code = 3


class ToolboxError(ArmwheelsError):
    """A compiler, Python, sysroot or emulator could not be fetched or does not match its pin."""

    exit_code = 4


class SourceError(ArmwheelsError):
    """A source could not be fetched, does not match its hash, or a patch does not apply."""

    exit_code = 5


class CompileError(ArmwheelsError):
    """The package's own build failed, or did not make the one expected wheel."""

    exit_code = 6


class RepairError(ArmwheelsError):
    """The compiled wheel needs what its platform tag does not allow, or lacks a licence text."""

    exit_code = 7


class AuditError(ArmwheelsError):
    """A wheel cannot be read, so that no verdict about it is possible."""

    exit_code = 8


class VerifyError(ArmwheelsError):
    """The emulated environment could not be created; a failed test has exit code 1 instead."""

    exit_code = 9


class PublishError(ArmwheelsError):
    """The index refused a request or did not answer."""

    exit_code = 10


class IncompleteError(ArmwheelsError):
    """A nightly run ended without some of its wheels; the report names each with its reason."""

    exit_code = 11


class DiskError(ArmwheelsError):
    """A file could not be written; most often the disk is full."""

    exit_code = 12


class EngineError(ArmwheelsError):
    """The engine that carries a night could not be started, or does not answer."""

    exit_code = 13


class StoppedError(ArmwheelsError):
    """The run was stopped by Ctrl-C or SIGTERM; the code is 128 + SIGINT, as in shells."""

    exit_code = 130


_FULL = (errno.ENOSPC, errno.EDQUOT)
_ADVICE = (
    "Nothing incomplete was published. Free some space, or set ARMWHEELS_HOME to a larger disk; then run the same "
    "command again: it continues from what is done"
)


def says_disk_full(text: str) -> bool:
    """Whether a program's output, or a message that quotes it, says that the disk is full (strerror(3))."""
    return any(os.strerror(number) in text for number in _FULL)


def with_true_cause(error: ArmwheelsError) -> ArmwheelsError:
    """The same error, or a :class:`DiskError` where a full disk made a program fail: compiler, uv, git or apt."""
    if isinstance(error, DiskError) or not says_disk_full(str(error)):
        return error
    return DiskError(f"{error}\n{_ADVICE}")


def as_disk_error(error: OSError) -> DiskError | None:
    """The error for a disk that accepts no more data (errno(3)); ``None`` for any other cause."""
    if error.errno not in (*_FULL, errno.EROFS):
        return None
    where = f" ({error.filename})" if error.filename else ""
    return DiskError(f"{error.strerror}{where}. {_ADVICE}")
