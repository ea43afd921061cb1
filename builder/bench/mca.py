"""Runs LLVM's tools for the estimate of cycles, and keeps the cost of each trace below the state folder."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pydantic import TypeAdapter

from builder.audit.decode import refused_lines, spell
from builder.bench.cycles import CYCLES_VERSION, Code, Cost, costs, regions
from builder.digests import digest
from builder.errors import ToolboxError
from builder.model.target import Core
from builder.toolbox.toolbox import Toolbox
from builder.whole import write_bytes

_TRIPLE = "--mtriple=aarch64-linux-gnu"
_ALL = "--mattr=+all"  # the wheel's audit says which instructions a CPU lacks; here all have a text
_COSTS = TypeAdapter(dict[str, Cost])


class Simulator:
    """Returns what traces cost on a core. A cost is found once for each code, core and version of LLVM."""

    def __init__(self, toolbox: Toolbox, core: Core, vector_bits: int) -> None:
        self._toolbox = toolbox
        self._core = core
        self._vector_bytes = vector_bits // 8
        key = {
            "cycles": CYCLES_VERSION,
            "core": core.model_dump(mode="json"),
            "vector_bits": vector_bits,
            "llvm": toolbox.pins.digest("llvm"),
        }
        self._kept = toolbox.home / "bench/cycles" / f"{core.model}-{digest(key)[:12]}.json"

    def costs(self, codes: Iterable[Code]) -> dict[Code, Cost]:
        """Return the cost of each code.

        Raises:
            ToolboxError: a tool of LLVM fails.
        """
        keys = {code: digest(code.model_dump())[:24] for code in codes}
        kept = _COSTS.validate_json(self._kept.read_bytes()) if self._kept.is_file() else {}
        unknown = [code for code, key in keys.items() if key not in kept]
        if unknown:
            kept |= {keys[code]: cost for code, cost in zip(unknown, self._simulated(unknown), strict=True)}
            # Another process may write at the same time; what it found is then found again.
            write_bytes(self._kept, _COSTS.dump_json(kept))
        return {code: kept[key] for code, key in keys.items()}

    def _simulated(self, codes: Sequence[Code]) -> list[Cost]:
        texts = self._texts(sorted({word for code in codes for word in code.words}))
        model = f"--mcpu={self._core.model}"
        options = ("--iterations=1", "--call-latency=1", "--skip-unsupported-instructions=any")
        views = ("--json", "--resource-pressure=false", "--instruction-info=false")
        code = regions(codes, texts).encode()
        output, _ = self._run("llvm-mca", [_TRIPLE, model, _ALL, *options, *views], code)
        return costs(codes, texts, output.decode(), self._core, self._vector_bytes)

    def _texts(self, words: Sequence[int]) -> Mapping[int, str]:
        """Return the assembly text of each word that is an instruction."""
        spelled = spell(np.array(words, dtype=np.uint32))
        output, errors = self._run("llvm-mc", ["--disassemble", "--triple=aarch64-linux-gnu", _ALL], spelled)
        lines = [line.strip() for line in output.decode().splitlines() if line.strip() not in ("", ".text")]
        refused = set(refused_lines(errors).tolist())
        known = [word for number, word in enumerate(words) if number not in refused]
        if len(known) != len(lines):
            raise ToolboxError(f"llvm-mc wrote {len(lines)} instructions for {len(known)} words")
        return dict(zip(known, lines, strict=True))

    def _run(self, tool: str, options: Sequence[str], text: bytes) -> tuple[bytes, bytes]:
        path = self._toolbox.llvm(tool)
        done = subprocess.run([str(path), *options], input=text, capture_output=True, check=False)
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise ToolboxError(f"{tool}: exit code {done.returncode}: {last[0]}")
        return done.stdout, done.stderr
