"""Ask released uv which wheel variants (PEP 825) it takes on which Arm CPU (docs/evidence/variants.md).

    .venv/bin/python -m scripts.uv_provider

uv has its provider `aarch64-variant-provider` compiled in. It asks the Python that it installs for about the part
numbers of the cores and the hardware capabilities (AT_HWCAP). Here a program in the place of that Python gives the
answer of a real emulated one, with other part numbers and capabilities; an index on loopback has a wheel of each
version of the architecture; and uv says which one it would install.

Exit code 1: the provider looks for other features than builder/model/variants.py says.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from builder.emulation.emulate import stand_in
from builder.emulation.environment import EmulatedPython
from builder.load import load_configs
from builder.model.server import HWCAP, HWCAP2
from builder.model.variants import NAMESPACE, PROVIDER, SCHEMA, VALUES, guaranteed
from builder.targets import Targets
from builder.toolbox.toolbox import Toolbox

UV = Path(sys.executable).parent / "uv"
ASKED = ["8a", *(f"8.{n}a" for n in range(1, 10)), "9a", *(f"9.{n}a" for n in range(8))]
"""Values of ``aarch64 :: version`` that are offered; uv's are among them."""
ALL = (1 << 64) - 1
LEAST = "8a"


class Asker:
    """Asks uv what it would install on a CPU."""

    def __init__(self, toolbox: Toolbox, targets: Targets, folder: Path, url: str) -> None:
        self._url, self._folder = url, folder
        python = EmulatedPython.standing_in(toolbox, "cp311", stand_in(targets["neoverse-v1"]))
        self._answer = folder / "answer.json"
        self._program = folder / "python3"
        real = " ".join(f"'{part}'" for part in python.command([]))
        self._program.write_text(f'#!/bin/sh\n{real} "$@" > "{self._answer}"; cat "{self._answer}"\n')
        self._program.chmod(0o755)
        self._ask()
        self._told = json.loads(self._answer.read_text())
        self._program.write_text(f'#!/bin/sh\ncat "{self._answer}"\n')

    def takes(self, core: str, hwcaps: Sequence[int]) -> str:
        """The value of the wheel that uv takes; ``core`` is implementer and part, such as ``0x41:0xd40``."""
        detected = self._told["cpu_info"]["detected"]
        detected["cores"], detected["hwcaps"] = [core.split(":")], [*hwcaps, 0, 0, 0, 0][:4]
        self._answer.write_text(json.dumps(self._told))
        return self._ask()

    def _ask(self) -> str:
        command = [UV, "pip", "install", "--no-config", "--no-cache", "--preview-features", "wheel-variants"]
        command += ["--python", self._program, "--index-url", self._url, "--target", self._folder / "site"]
        done = subprocess.run(
            [*map(str, command), "--dry-run", "-v", "probe"], capture_output=True, text=True, check=False
        )
        found = re.search(r"Selecting: probe==1 .*?any(?:-v([0-9.]+a))?\.whl\)", done.stderr)
        if found is None:
            raise SystemExit(f"uv chose nothing: {done.stderr[-2000:]}")
        return found[1] or "none"


@contextmanager
def index(folder: Path) -> Iterator[str]:
    """An index on loopback with one version of a project, as a variant of each value."""
    pages = folder / "simple" / "probe"
    pages.mkdir(parents=True)
    for value in ASKED:
        _write_wheel(pages, value)
    (pages / "probe-1-variants.json").write_text(json.dumps(_document(ASKED)))
    links = "".join(f'<a href="{path.name}">{path.name}</a><br>' for path in sorted(pages.iterdir()))
    (pages / "index.html").write_text(f"<!DOCTYPE html><title>probe</title>{links}")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple/"
    finally:
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _document(values: Sequence[str]) -> dict[str, Any]:
    return {
        "$schema": SCHEMA,
        "default-priorities": {"namespace": [NAMESPACE]},
        "providers": {NAMESPACE: {"requires": [PROVIDER]}},
        "variants": {f"v{value}": {NAMESPACE: {"version": [value]}} for value in values},
    }


def _write_wheel(folder: Path, value: str) -> None:
    info = "probe-1.dist-info"
    files = {
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: probe\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: probe\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/variant.json": json.dumps(_document([value])),
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"probe-1-py3-none-any-v{value}.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def looked_for(asker: Asker) -> dict[str, frozenset[str]]:
    """The features without which uv takes no wheel of a value, by value."""
    core = "0x41:0xd40"
    best = asker.takes(core, (ALL, ALL, ALL, ALL))
    needed: dict[str, set[str]] = {value: set() for value in ASKED[1 : ASKED.index(best) + 1]}
    for word, names in enumerate((HWCAP, HWCAP2)):
        for bit, name in enumerate(names):
            caps = [ALL, ALL, ALL, ALL]
            caps[word] &= ~(1 << bit)
            taken = ASKED.index(asker.takes(core, caps))
            for value, lacking in needed.items():
                if ASKED.index(value) > taken:
                    lacking.add(name)
    return {value: frozenset(names) for value, names in needed.items()}


def by_part(asker: Asker, targets: Targets) -> dict[tuple[str, str], tuple[str, str]]:
    """What uv takes on each target's parts: with its server's capabilities, as recorded, and with all there are."""
    parts = [(name, part) for name, target in targets.items() for part in target.parts]
    return {
        (name, part): (
            asker.takes(part, targets[name].server.hwcap),
            asker.takes(part, (ALL, ALL, ALL, ALL)),
        )
        for name, part in parts
    }


def main() -> int:
    """Print both tables, and compare the first with the labels."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    targets = load_configs().targets
    with tempfile.TemporaryDirectory(prefix="uv-provider-") as name, index(Path(name)) as url:
        asker = Asker(Toolbox(), targets, Path(name), url)
        needed, rows = looked_for(asker), by_part(asker, targets)
    print(
        "| `aarch64 :: version` | features that uv looks for, besides those of the row above |\n| --- | --- |"
    )
    before: frozenset[str] = frozenset()
    for value, names in needed.items():
        print(f"| {value} | {' '.join(sorted(names - before))} |")
        before = names
    print(
        "\n| target | part | capabilities | uv takes | with every capability |\n| --- | --- | --- | --- | --- |"
    )
    for (target, part), (shown, best) in rows.items():
        print(f"| `{target}` | {part} | {targets[target].server.description} | {shown} | {best} |")
    return 0 if agrees(needed) else 1


def agrees(needed: Mapping[str, frozenset[str]]) -> bool:
    """Whether labels promise what uv looks for, and no more."""
    return needed == {value: guaranteed(label) for label, value in VALUES.items()}


if __name__ == "__main__":
    sys.exit(main())
