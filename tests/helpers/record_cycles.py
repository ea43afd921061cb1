"""Records what the plugin counts of a small program, and what LLVM's tools write about it.

For tests that run without an emulator. Run by hand after a change of the plugin, of the estimate or of LLVM:
python -m tests.helpers.record_cycles
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from builder.bench.cycles import code_of
from builder.bench.mca import Simulator
from builder.bench.traces import hot_traces
from builder.cpus import load_targets
from builder.toolbox.toolbox import Toolbox
from tests.helpers import DATA
from tests.helpers.loops import assemble, count, program

HERE = DATA / "cycles"
RECORDED = "neoverse-n1"


class _Recorder(Simulator):
    def _run(self, tool: str, options: Sequence[str], text: bytes) -> tuple[bytes, bytes]:
        output, errors = super()._run(tool, options, text)
        (HERE / tool).write_bytes(output.replace(b"        ", b""))
        return output, errors


def main() -> None:
    """Count the program's blocks, simulate its loops, and write both."""
    toolbox = Toolbox()
    with tempfile.TemporaryDirectory() as folder:
        marks = count(toolbox, assemble(toolbox, program(), Path(folder)), HERE / "marks")
        toolbox.home = Path(folder)  # no cost is kept there, so that the tools run
        executions = list(marks.executions.values())[1:]
        codes = [code_of(trace) for one in executions for trace in hot_traces(one)]
        _Recorder(toolbox, load_targets()[RECORDED].core, 0).costs(codes)


if __name__ == "__main__":
    main()
