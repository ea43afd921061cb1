"""Measure which instructions of a torch wheel's workloads run in tuned units, and which in shared baseline units.

    .venv/bin/python -m scripts.where_it_runs WHEEL TREE [--patterns 0.99]

TREE is the source tree that WHEEL was compiled in: `work/…/src` of the state folder. A finished build deletes it,
so copy it (`cp -al`) after libtorch_cpu.so is linked. The script runs the workloads of `armwheels bench` under the
same emulator, with a plugin that counts each block of code. It links libtorch_cpu.so again to get the linker's
map, which has the unit of each block. Tuning all units could only change the share of the baseline units.

`--patterns SHARE` prints units for a recipe's `hot_paths`: those that execute this share of each workload's
instructions outside the tuned units.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from builder.audit import elf
from builder.audit.elf import Elf
from builder.bench.counting import EMULATOR, CountingMachine, compile_plugin
from builder.bench.install import facts
from builder.bench.measure import parse_lines, program_for, workloads_of
from builder.commands.project import Project
from builder.load import load_recipes
from builder.model.pythons import program_of
from builder.toolbox.toolbox import Toolbox

PYTHON = "cp311"
LIBRARY = "torch/lib/libtorch_cpu.so"
PARTS = ("tuned units", "shared units", "kernel libraries", "Python and others")

# Runs the bench's script as it would run itself, and tells what was mapped where.
ASKED = """
import runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    with open("/proc/self/maps") as maps, open("maps", "w") as kept:
        kept.write(maps.read())
"""
# Where CMake was run, which names sources by full paths; the tree may be a copy.
_CONFIGURED = re.compile(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.+)$", re.MULTILINE)
_MAPPED = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ \S+ +(/\S.*)$", re.MULTILINE)
# An input section of GNU ld's map: address, size and object; its name may stand on the line before.
_SECTION = re.compile(r"^ (?:\S+)?\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S+\.o\)?)$", re.MULTILINE)


@dataclass(frozen=True)
class Unit:
    """A compile unit of libtorch_cpu.so, by its source. ``hot`` units are in the recipe's hot paths."""

    name: str
    hot: bool


class Map:
    """The units of libtorch_cpu.so by address, from the linker's map."""

    def __init__(self, text: str, units: dict[str, Unit]) -> None:
        sections = sorted(
            (int(start, 16), int(start, 16) + int(size, 16), name)
            for start, size, name in _SECTION.findall(text)
            if int(start, 16) and int(size, 16)
        )
        self._starts = [start for start, _, _ in sections]
        self._sections = sections
        self._units = units

    def at(self, address: int) -> Unit:
        index = bisect_right(self._starts, address) - 1
        if index < 0 or address >= self._sections[index][1]:
            return Unit("(calls between libraries)", hot=False)
        name = self._sections[index][2]
        # Members of an archive are named by file alone: lib/libdnnl.a(gemm.cpp.o).
        archive, _, member = name.rstrip(")").partition("(")
        return self._units.get(member or archive, Unit(name, hot=False))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("tree", type=Path)
    parser.add_argument("--patterns", type=float, metavar="SHARE")
    asked = parser.parse_args()
    project = Project()
    about = facts(asked.wheel)
    machine = CountingMachine(project.toolbox, project.targets[str(about.target)], PYTHON)
    folder = project.toolbox.home / "bench" / f"where-{about.sha256[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    site = folder / "site"
    if not site.is_dir():
        machine.install(asked.wheel.resolve(), site)
    linked = link_map(project.toolbox, asked.tree.resolve(), folder)
    counted, maps = run(project, machine, site, folder)
    table: dict[str, Counter[tuple[str, str]]] = {}
    files: dict[str, Elf] = {}
    for workload, blocks in counted.items():
        found = table.setdefault(workload, Counter())
        for address, executed in blocks.items():
            found[place(address, maps, files, site, linked)] += executed
    print("| workload | instructions |", " | ".join(f"{part} %" for part in PARTS), "|")
    print("| --- | ---: " + "| ---: " * len(PARTS) + "|")
    for workload, found in table.items():
        total = found.total()
        shares = Counter[str]()
        for (part, _), executed in found.items():
            shares[part] += executed
        print(
            f"| {workload} | {total:,} |",
            " | ".join(f"{100 * shares[part] / total:.1f}" for part in PARTS),
            "|",
        )
    if asked.patterns:
        print("\n".join(f'"*/{name}",' for name in sorted(patterns(table, asked.patterns))))
    return 0


def link_map(toolbox: Toolbox, tree: Path, folder: Path) -> Map:
    """Link libtorch_cpu.so again with the same command, but with a map and into another file."""
    [ninja] = (toolbox.home / "envs").glob("pytorch-*/bin/ninja")
    build = tree / "build"
    kept = folder / "libtorch_cpu.map"
    if not kept.is_file():
        listing = subprocess.run(
            [ninja, "-t", "commands", "-s", "lib/libtorch_cpu.so"],
            cwd=build,
            capture_output=True,
            text=True,
            check=True,
        )
        command = listing.stdout.strip()
        again = command.replace("-o lib/libtorch_cpu.so", f"-Wl,-Map={kept}.fresh -o {folder}/again.so", 1)
        subprocess.run(["/bin/sh", "-c", again], cwd=build, check=True)
        if (folder / "again.so").read_bytes() != (build / "lib/libtorch_cpu.so").read_bytes():
            raise SystemExit("libtorch_cpu.so links differently a second time: its map would not fit")
        (folder / "again.so").unlink()
        Path(f"{kept}.fresh").replace(kept)
    hot = load_recipes()["pytorch"].build.hot_paths
    [root] = _CONFIGURED.findall((build / "CMakeCache.txt").read_text(encoding="utf-8"))
    listing = subprocess.run([ninja, "-t", "compdb"], cwd=build, capture_output=True, text=True, check=True)
    units: dict[str, Unit] = {}
    for step in json.loads(listing.stdout):
        if " -c " not in step["command"]:
            continue
        source = os.path.normpath(Path(root, "build", step["file"]))
        unit = Unit(os.path.relpath(source, root), hot=any(fnmatchcase(source, pattern) for pattern in hot))
        units[step["output"]] = units[Path(step["output"]).name] = unit
    return Map(kept.read_text(encoding="utf-8", errors="replace"), units)


def run(
    project: Project, machine: CountingMachine, site: Path, folder: Path
) -> tuple[dict[str, Counter[int]], list[tuple[int, int, int, str]]]:
    """Return the instructions per block of the last warm call of each workload, and the memory mappings."""
    program = program_for("torch")
    if program is None:
        raise SystemExit("no workloads for torch")
    plugin = compile_plugin(project.toolbox, Path(__file__).with_suffix(".c"))
    root = project.toolbox.userland(PYTHON)
    names = [workload.name for workload in workloads_of(program)]
    done = subprocess.run(
        [
            *(str(project.toolbox.ensure(EMULATOR) / "usr/bin/qemu-aarch64"), "-L", str(root)),
            *("-cpu", machine.machine.cpu, "-seed", "1", "-plugin", f"{plugin},out={folder / 'blocks'}"),
            *(
                str(root / "usr/bin" / program_of(PYTHON)),
                "-c",
                ASKED,
                *map(str, program),
                "count",
                "1",
                *names,
            ),
        ],
        cwd=folder,
        env={"HOME": str(folder), "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(site)}
        | machine.machine.environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    last = {
        line["marks"][-1]: line["workload"]
        for line in parse_lines(done.stdout.splitlines())
        if line["state"] == "ran"
    }
    counted = {name: blocks for mark, blocks in between_marks(folder / "blocks") if (name := last.get(mark))}
    mapped = _MAPPED.findall((folder / "maps").read_text())
    return counted, [(int(a, 16), int(b, 16), int(offset, 16), path) for a, b, offset, path in mapped]


def between_marks(path: Path) -> Iterator[tuple[int, Counter[int]]]:
    """Parse the plugin's output: each mark, and the instructions since the mark before by block address."""
    blocks: Counter[int] = Counter()
    mark: int | None = None
    with path.open(encoding="ascii") as lines:
        for line in lines:
            first, *rest = line.split()
            if first == "mark":
                if mark is not None:
                    yield mark, blocks
                mark, blocks = int(rest[0]), Counter()
            else:
                blocks[int(first, 16)] += int(rest[0]) * int(rest[1])
    if mark is not None:
        yield mark, blocks


def place(
    address: int, maps: list[tuple[int, int, int, str]], files: dict[str, Elf], site: Path, linked: Map
) -> tuple[str, str]:
    """Return the part of :data:`PARTS` that an address belongs to, and its unit or file."""
    mapping = next((one for one in maps if one[0] <= address < one[1]), None)
    if mapping is None:
        # In no file: oneDNN's and XNNPACK's generators write code for the CPU that they find.
        return PARTS[2], "(generated at run time)"
    start, _, offset, path = mapping
    if not path.startswith(f"{site}/torch"):
        return PARTS[3], Path(path).name
    if path.startswith(f"{site}/torch.libs/"):
        return PARTS[2], Path(path).name
    if not path.endswith(LIBRARY):
        return PARTS[1], Path(path).name
    if path not in files:
        files[path] = elf.read(LIBRARY, Path(path).read_bytes())
    inside = address - start + offset
    segment = max(
        (one for one in files[path].segments if one.offset <= inside),
        key=lambda one: (one.offset, one.address),
    )
    unit = linked.at(inside - segment.offset + segment.address)
    return PARTS[0] if unit.hot else PARTS[1], unit.name


def patterns(table: dict[str, Counter[tuple[str, str]]], share: float) -> set[str]:
    """Return the fewest units with ``share`` of each workload's instructions outside the tuned units.

    Objects from outside the tree, such as those of the C library or the compiler, have full paths.
    """
    chosen: set[str] = set()
    for found in table.values():
        outside = Counter(
            {
                name: executed
                for (part, name), executed in found.items()
                if part == PARTS[1] and "/" in name[1:] and name[0] != "/"
            }
        )
        wanted, held = share * outside.total(), 0
        for name, executed in outside.most_common():
            if held >= wanted:
                break
            chosen.add(name)
            held += executed
    return chosen


if __name__ == "__main__":
    sys.exit(main())
