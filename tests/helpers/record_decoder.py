"""Records what the real llvm-mc answers about the samples, for tests that must run without it.

Run by hand after a change of samples, targets or extensions: python -m tests.helpers.record_decoder LLVM_MC
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from builder.audit.decode import LlvmMc
from builder.cpus import load_targets
from builder.model.extensions import EXTENSIONS
from builder.model.variants import VALUES, attributes
from tests.helpers import DATA

HERE = DATA / "decoder"


def main(tool: Path) -> None:
    """Assemble the samples, ask about each on every CPU and extension, and write the answers."""
    command = [str(tool), "--triple=aarch64", "--mattr=+all", "--show-encoding", str(HERE / "samples.s")]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.strip() for line in (HERE / "samples.s").read_text(encoding="utf-8").splitlines()]
    codes = re.findall(r"encoding: \[([^\]]+)\]", listing)
    words = {int.from_bytes(bytes(int(b, 16) for b in code.split(",")), "little"): line
             for code, line in zip(codes, lines, strict=True)}  # fmt: skip
    asked = np.array(sorted(words), dtype=np.uint32)
    known = load_targets()
    questions = {(target.llvm_cpu, target.llvm_attributes) for target in known.values()}
    questions |= {("generic", extension.attributes) for extension in EXTENSIONS} | {("generic", ("+all",))}
    questions |= {("generic", attributes(label)) for label in VALUES}
    decoder = LlvmMc(tool)
    refused = {
        " ".join((cpu, *attributes)): [
            f"{w:08x}" for w in asked[~decoder.decodable(asked, cpu, attributes)].tolist()
        ]
        for cpu, attributes in sorted(questions)
    }
    version = subprocess.run([str(tool), "--version"], capture_output=True, text=True, check=True).stdout
    answers = {
        "llvm": re.findall(r"version (\S+)", version)[0],
        "words": {f"{word:08x}": words[word] for word in asked.tolist()},
        "refused": refused,
    }
    text = json.dumps(answers, indent=0, separators=(",", ":"))
    (HERE / "llvm-mc.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
