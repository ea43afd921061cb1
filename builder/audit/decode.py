"""Determines with ``llvm-mc`` which instruction words a CPU decodes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from builder.errors import AuditError

Words = NDArray[np.uint32]
Mask = NDArray[np.bool_]

# Words per run of the tool. Its input has 20 bytes per word; its output is as long again if it refuses all words.
_CHUNK = 1_000_000

_REFUSED = re.compile(rb"^<stdin>:(\d+):\d+: warning: invalid instruction encoding", re.MULTILINE)
_UNKNOWN = re.compile(rb"^.*is not a recognized (?:processor|feature).*$", re.MULTILINE)
_BYTE = (
    np.array([f"0x{value:02x} ".encode() for value in range(256)], dtype="S5").view(np.uint8).reshape(256, 5)
)


class Decoder(Protocol):
    """Determines which instruction words a CPU decodes."""

    def decodable(self, words: Words, cpu: str, attributes: tuple[str, ...] = ()) -> Mask:
        """Return for each word whether ``cpu`` decodes it. ``attributes`` are LLVM's, such as ``+sve``."""


class LlvmMc:
    """A :class:`Decoder` that runs ``llvm-mc --disassemble``.

    Args:
        tool: path of llvm-mc, version 19 or later. Older versions do not support every target.
    """

    def __init__(self, tool: Path) -> None:
        self._tool = tool

    def decodable(self, words: Words, cpu: str, attributes: tuple[str, ...] = ()) -> Mask:
        """Decode each word once.

        Raises:
            AuditError: the tool does not run, or does not support the CPU or an attribute.
        """
        parts = [
            self._run(words[start : start + _CHUNK], cpu, attributes)
            for start in range(0, len(words), _CHUNK)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.bool_)

    def _run(self, words: Words, cpu: str, attributes: tuple[str, ...]) -> Mask:
        command = [str(self._tool), "--triple=aarch64-linux-gnu", f"--mcpu={cpu}", "--disassemble"]
        if attributes:
            command.append(f"--mattr={','.join(attributes)}")
        try:
            run = subprocess.run(
                command, input=spell(words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
            )
        except OSError as error:
            raise AuditError(f"{self._tool}: does not run: {error.strerror or error}") from error
        unknown = _UNKNOWN.search(run.stderr)
        if unknown:
            message = unknown.group(0).decode(errors="replace")
            raise AuditError(f"{self._tool} is too old for this target (needs LLVM 19): {message}")
        if run.returncode:
            last = run.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise AuditError(f"{self._tool}: exit code {run.returncode}: {last[0]}")
        mask = np.ones(len(words), dtype=np.bool_)
        mask[refused_lines(run.stderr)] = False
        return mask


def spell(words: Words) -> bytes:
    """Return the words in llvm-mc's input format: four bytes in memory order, one word per line."""
    text = _BYTE[words.astype("<u4").view(np.uint8)].reshape(len(words), 20)
    text[:, 19] = ord("\n")
    return text.tobytes()


def refused_lines(stderr: bytes) -> NDArray[np.intp]:
    """Return the line numbers, from 0, of words that llvm-mc reports as invalid.

    Its warning about a potentially undefined encoding is ignored, since that word is an instruction.
    """
    return np.array([int(line) - 1 for line in _REFUSED.findall(stderr)], dtype=np.intp)
