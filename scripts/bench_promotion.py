"""What a promotion costs: seconds of one move through all gates, for a snapshot of many wheels.

    .venv/bin/python scripts/bench_promotion.py --files 1000

Records, evidence and one nightly snapshot of FILES wheels with passports are laid into the store (a temporary
folder, or an empty one named by ARMWHEELS_STORE). A fresh server then answers ``POST .../moves``: first with
nothing in its memory, then to a snapshot of one wheel more, then back.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import httpx2

from index_server.catalog import Catalog
from index_server.model import Record, Tuned, sha256_hex
from index_server.settings import ROOT, load_settings
from index_server.store import ObjectStore, open_store

BIN = Path(sys.executable).parent
PER_PROJECT = 50
SESSIONS = ("a" * 22, "b" * 22)
REPORT = {"passed": True, "verdicts": [{"check": f"check {n}", "detail": "x" * 300} for n in range(12)]}
GATES = """
[nightly]
description = "newest"
[stable]
description = "chosen"
[stable.gates]
from = ["nightly"]
required = ["all"]
evidence = ["audit", "emulation"]
approvals = 1
"""


def record(number: int, version: str) -> Record:
    """The record of one small wheel with a passport."""
    project, digest = f"project-{number // PER_PROJECT}", sha256_hex(f"{number} {version}".encode())
    upstream = f"{version}.{number % PER_PROJECT}"
    tags = f"1_{digest[:8]}-cp311-cp311-manylinux_2_28_aarch64"
    filename = f"{project.replace('-', '_')}-{upstream}+generic-{tags}.whl"
    data = filename.encode()
    return Record(
        project=project,
        name=project,
        filename=filename,
        version=f"{upstream}+generic",
        build_tag=f"1_{digest[:8]}",
        python_tag="cp311",
        abi_tag="cp311",
        platform_tag="manylinux_2_28_aarch64",
        size=len(data),
        sha256=sha256_hex(data),
        blake2_256="0" * 64,
        metadata_sha256=sha256_hex(b"m"),
        requires_python=None,
        summary="",
        uploaded_at="2026-11-23T00:00:00.000000Z",
        uploaded_by="bench",
        tuned=Tuned(
            build=f"{project}-{upstream}",
            recipe=project,
            version=upstream,
            python="cp311",
            target="generic",
            backend="none",
            default_backend=True,
            wheel_digest=digest,
        ),
    )


def fill(catalog: Catalog, store: ObjectStore, files: int) -> list[str]:
    """A snapshot of ``files`` wheels, and one with one wheel more; both shown by ``nightly``."""

    def put(number: int, session: str) -> None:
        each = record(number, "1")
        with store.scratch() as path:
            path.write_bytes(each.filename.encode())
            catalog.record_file(each, b"m", path, session)
        for kind in ("audit", "emulation"):
            catalog.evidence.add(each.sha256, kind, {**REPORT, "sha256": each.sha256}, "bench")

    made: list[str] = []
    for session, numbers in zip(SESSIONS, (range(files), [files]), strict=True):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, numbers, repeat(session)))
        made.append(catalog.make_snapshot(session, "bench", "nightly").id)
        catalog.move(
            "nightly", snapshot_id=made[-1], expected_serial=len(made) - 1, nonce=made[-1], by="bench"
        )
    return made


def required(files: int) -> dict[str, list[str]]:
    """The versions of each project, for ``matrices.toml``."""
    found: dict[str, list[str]] = {}
    for number in range(files):
        found.setdefault(f"project-{number // PER_PROJECT}", []).append(f"1.{number % PER_PROJECT}")
    return found


def configure(folder: Path, files: int) -> None:
    """Configs in which every one of the wheels is required."""
    for path in (ROOT / "configs").glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "channels.toml").write_text(GATES)
    cells = [
        f'[[all.cells]]\nrecipe = "{project}"\nversions = {versions}\npythons = ["cp311"]\n'
        'targets = ["generic"]\nbackends = ["none"]\nrequired = true\n'
        for project, versions in required(files).items()
    ]
    (folder / "matrices.toml").write_text('[all]\ndescription = "all"\n' + "".join(cells))


def token(name: str) -> str:
    """A token that may move ``stable``."""
    command = [str(BIN / "armwheels-index"), "token", "--name", name, "--scope", "move:stable"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Fill, serve, move, and print what each move took."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--files", type=int, default=1000, help="wheels of the snapshot")
    files = options.parse_args().files
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        configure(home, files)
        os.environ |= {"ARMWHEELS_HOME": name, "ARMWHEELS_CONFIGS": name}
        settings = load_settings()
        store = open_store(settings.store)
        first, second = fill(Catalog(store, settings.channels), store, files)
        mover, other = token("mover"), token("other")
        before = sum(1 for _ in store.keys("files/"))
        ready = home / "ready"
        serve = [str(BIN / "armwheels-index"), "serve", "--port", "0", "--ready-file", str(ready)]
        with subprocess.Popen(serve, stdout=subprocess.DEVNULL) as server:
            while not ready.exists():
                time.sleep(0.05)
            with httpx2.Client(base_url=ready.read_text().strip(), timeout=120) as client:
                for snapshot in (first, second):
                    body = {"channel": "stable", "snapshot": snapshot}
                    client.post("/api/approvals", json=body, headers={"Authorization": f"Bearer {other}"})
                kind = settings.store.partition(":")[0]
                print(f"a snapshot of {files} wheels, {2 * files} pieces of evidence, store: {kind}")
                for serial, (what, snapshot) in enumerate(
                    (("cold", first), ("one wheel more, warm", second), ("back", first))
                ):
                    body = {"snapshot": snapshot, "expected_serial": serial, "nonce": f"{serial}"}
                    start = time.monotonic()
                    answer = client.post(
                        "/api/channels/stable/moves", json=body, headers={"Authorization": f"Bearer {mover}"}
                    )
                    print(f"{what:22} {answer.status_code} {time.monotonic() - start:7.3f} s")
            server.terminate()
        copied = sum(1 for _ in store.keys("files/")) - before
        print(f"objects written below files/ meanwhile: {copied}")


if __name__ == "__main__":
    main()
