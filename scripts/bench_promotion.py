"""Measure the time of a promotion: one move through all gates, for a snapshot of many wheels.

    .venv/bin/python -m scripts.bench_promotion --files 1000
    .venv/bin/python -m scripts.bench_promotion --files 1000 --store s3

The script writes records, evidence and one nightly snapshot of FILES wheels with passports to a store. This is a
temporary folder, a new SeaweedFS, or the empty store that ARMWHEELS_STORE names. A new server then answers three
``POST .../moves``: with empty caches, to a snapshot with one more wheel, and back. The script prints the elapsed
seconds at the client, and the CPU seconds (user and system) of the server and the store.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path

import httpx2
import psutil

from index_server.catalog.catalog import Catalog
from index_server.model import Record, Tuned, sha256_hex
from index_server.settings import ROOT, load_settings
from index_server.store.address import open_store
from index_server.store.interface import ObjectStore
from scripts.seaweed import Seaweed

BIN = Path(sys.executable).parent
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


def record(number: int, of_project: int) -> Record:
    """Return the record of a small wheel with a passport. Each project has ``of_project`` wheels."""
    project, digest = f"project-{number // of_project}", sha256_hex(f"{number}".encode())
    upstream = f"1.{number % of_project}"
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


def fill(catalog: Catalog, store: ObjectStore, files: int, of_project: int) -> list[str]:
    """Write a snapshot of ``files`` wheels and one with one more wheel. ``nightly`` shows both in turn."""

    def put(number: int, session: str) -> None:
        each = record(number, of_project)
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


def required(files: int, of_project: int) -> dict[str, list[str]]:
    """Return the versions of each project, for ``matrices.toml``."""
    found: dict[str, list[str]] = {}
    for number in range(files):
        found.setdefault(f"project-{number // of_project}", []).append(f"1.{number % of_project}")
    return found


def configure(folder: Path, files: int, of_project: int) -> None:
    """Write configuration files that require every wheel."""
    for path in (ROOT / "configs").glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "channels.toml").write_text(GATES)
    cells = [
        f'[[all.cells]]\nrecipe = "{project}"\nversions = {versions}\npythons = ["cp311"]\n'
        'targets = ["generic"]\nbackends = ["none"]\nrequired = true\n'
        for project, versions in required(files, of_project).items()
    ]
    (folder / "matrices.toml").write_text('[all]\ndescription = "all"\n' + "".join(cells))


def token(name: str) -> str:
    """Make a token that may move ``stable``."""
    command = [str(BIN / "armwheels-index"), "token", "--name", name, "--scope", "move:stable"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def cpu(process: psutil.Process | None) -> float:
    """Return the CPU seconds, user and system, of a process."""
    if process is None:
        return 0.0
    used = process.cpu_times()
    return float(used.user + used.system)


def main() -> None:
    """Run the benchmark and print the time of each move."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--files", type=int, default=1000, help="wheels of the snapshot")
    options.add_argument("--of-project", type=int, default=50, help="wheels of each project")
    options.add_argument("--store", choices=("file", "s3"), default="file", help="s3 starts a SeaweedFS")
    asked = options.parse_args()
    with ExitStack() as ends:
        home = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        seaweed = None
        if asked.store == "s3":
            seaweed = Seaweed(home / "seaweed")
            seaweed.start()
            ends.callback(seaweed.kill)
            os.environ |= seaweed.environment("bench")
        measure(home, asked.files, asked.of_project, psutil.Process(seaweed.pid) if seaweed else None)


def measure(home: Path, files: int, of_project: int, store_process: psutil.Process | None) -> None:
    """Fill the store that the environment names, and time three moves with a new server."""
    configure(home, files, of_project)
    os.environ |= {"ARMWHEELS_HOME": str(home), "ARMWHEELS_CONFIGS": str(home)}
    settings = load_settings()
    store = open_store(settings.store)
    first, second = fill(Catalog(store, settings.channels), store, files, of_project)
    mover, other = token("mover"), token("other")
    before = sum(1 for _ in store.keys("files/"))
    ready = home / "ready"
    serve = [str(BIN / "armwheels-index"), "serve", "--port", "0", "--ready-file", str(ready)]
    with subprocess.Popen(serve, stdout=subprocess.DEVNULL) as server:
        while not ready.exists():
            time.sleep(0.05)
        server_process = psutil.Process(server.pid)
        with httpx2.Client(base_url=ready.read_text().strip(), timeout=120) as client:
            for snapshot in (first, second):
                body = {"channel": "stable", "snapshot": snapshot}
                client.post("/api/approvals", json=body, headers={"Authorization": f"Bearer {other}"})
            kind, load = settings.store.partition(":")[0], os.getloadavg()[0]
            print(
                f"{files} wheels, {of_project} a project, {2 * files} pieces of evidence, "
                f"store: {kind}, load average {load:.1f}"
            )
            for serial, (what, snapshot) in enumerate(
                (("cold", first), ("one wheel more, warm", second), ("back", first))
            ):
                move = {"snapshot": snapshot, "expected_serial": serial, "nonce": f"{serial}"}
                used, used_by_store = cpu(server_process), cpu(store_process)
                start = time.monotonic()
                answer = client.post(
                    "/api/channels/stable/moves", json=move, headers={"Authorization": f"Bearer {mover}"}
                )
                print(
                    f"{what:22} {answer.status_code} {time.monotonic() - start:7.3f} s, processor: server "
                    f"{cpu(server_process) - used:.2f} s, store {cpu(store_process) - used_by_store:.2f} s"
                )
        server.terminate()
    copied = sum(1 for _ in store.keys("files/")) - before
    print(f"objects written below files/ meanwhile: {copied}")


if __name__ == "__main__":
    main()
