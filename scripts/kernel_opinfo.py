"""Runs PyTorch's descriptions of operations (OpInfo) over a wheel of torch-tuned-kernels, under emulation.

    .venv/bin/python -m scripts.kernel_opinfo torch_tuned_kernels-….whl --target neoverse-v1

Prints a table: cases run and failed for each operation, and why checks were left out. Exit code 1 if one failed.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated

import typer

from scripts.emulated_torch import output_of

GUEST = Path(__file__).with_name("kernel_opinfo_guest.py")


def table(lines: list[str]) -> tuple[str, int]:
    """What the guest's lines say as Markdown, and how many cases failed."""
    run: dict[str, Counter[str]] = defaultdict(Counter)
    left, faults, served = Counter[str](), [], ""
    for line in map(json.loads, lines):
        if "operation" not in line:
            served = ", ".join(f"{name} {count}" for name, count in line["calls"].items())
        elif "left_out" in line:
            left[line["left_out"]] += 1
        else:
            counts = run[line["operation"]]
            counts["run"] += line["run"]
            counts["failed"] += line["failed"]
            faults += [f"{line['operation']} {line['type']} {line['check']}: {one}" for one in line["faults"]]
    rows = [f"| {name} | {counts['run']} | {counts['failed']} |" for name, counts in run.items()]
    total = sum((counts for counts in run.values()), Counter())
    told = ["| operation | cases run | failed |", "| --- | ---: | ---: |", *rows]
    told += [f"| all | {total['run']} | {total['failed']} |", "", f"Calls that ours served: {served}."]
    told += ["", *(f"Left out {count} times: {reason}." for reason, count in left.most_common())]
    return "\n".join([*told, *(f"FAILED {fault}" for fault in faults)]), total["failed"]


def main(
    wheel: Annotated[Path, typer.Argument(help="Wheel of torch-tuned-kernels.")],
    target: Annotated[str, typer.Option(help="CPU target to emulate.")],
    python: Annotated[str, typer.Option(help="Python of the wheel.")] = "cp313",
    only: Annotated[list[str] | None, typer.Option(help="Run this operation alone; repeatable.")] = None,
) -> None:
    program = GUEST.read_text(encoding="utf-8")
    [output] = output_of(
        [wheel], target, program, recipe="torch-tuned-kernels", python=python, arguments=only or ()
    )
    text, failed = table(output.strip().splitlines())
    print(text)
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    typer.run(main)
