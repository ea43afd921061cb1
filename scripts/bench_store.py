"""Measure the upload and download times of a large wheel, and the peak memory of a running index.

    ARMWHEELS_TOKEN=... .venv/bin/python -m scripts.bench_store --url http://127.0.0.1:8080 --pid PID --mib 1024

The wheel has one stored member of pseudo-random bytes. The script uploads it as twine does, downloads it from
``/files/``, and compares the sha256. It prints the results as JSON.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import secrets
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import httpx2

NAME = "large_thing-1.0-py3-none-any.whl"
MIB = 1 << 20


def make_wheel(folder: Path, mib: int) -> Path:
    """Make a wheel with one member of ``mib`` MiB. The local header states the size, as the index requires."""
    path, seed = folder / NAME, secrets.token_bytes(MIB)
    digest = hashlib.sha256()
    for number in range(mib):
        digest.update(block(seed, number))
    sha256 = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
    info = "large_thing-1.0.dist-info"
    small = {
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: large-thing\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"large_thing/data,sha256={sha256},{mib * MIB}\n"
    for name, text in small.items():
        each = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={each},{len(text)}\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        member = zipfile.ZipInfo("large_thing/data", (2026, 11, 23, 0, 0, 0))
        member.file_size, member.external_attr = mib * MIB, 0o100644 << 16
        with archive.open(member, "w") as out:
            for number in range(mib):
                out.write(block(seed, number))
        for name, text in {**small, f"{info}/RECORD": record + f"{info}/RECORD,,\n"}.items():
            header = zipfile.ZipInfo(name, (2026, 11, 23, 0, 0, 0))
            header.external_attr = 0o100644 << 16
            archive.writestr(header, text)
    return path


def block(seed: bytes, number: int) -> bytes:
    """Return a MiB that differs from all other blocks."""
    return number.to_bytes(8, "big") + seed[8:]


def digest_of(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def peak_kib(pid: int) -> int:
    """Return the peak resident memory of a process in KiB (VmHWM, proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def upload(url: str, token: str, wheel: Path, sha256: str) -> None:
    """Upload the wheel."""
    with wheel.open("rb") as content:
        answer = httpx2.post(
            f"{url}/upload/?session={secrets.token_urlsafe(24)}",
            data={":action": "file_upload", "sha256_digest": sha256},
            files={"content": (wheel.name, content)},
            headers={"Authorization": f"Bearer {token}"},
            timeout=600,
        )
    if answer.status_code != 200:
        raise SystemExit(f"{answer.status_code}: {answer.text}")


def download(url: str, sha256: str) -> str:
    """Download the wheel and return its sha256."""
    digest = hashlib.sha256()
    with httpx2.stream("GET", f"{url}/files/{sha256}/{NAME}", timeout=600) as answer:
        answer.raise_for_status()
        for chunk in answer.iter_raw(MIB):
            digest.update(chunk)
    return digest.hexdigest()


def main() -> int:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description="Measure the cost of a large wheel for a running index.")
    parser.add_argument("--url", required=True)
    parser.add_argument(
        "--pid", required=True, type=int, help="process id of the server, to read its peak memory"
    )
    parser.add_argument("--mib", type=int, default=1024, help="size of the wheel")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = make_wheel(Path(folder), asked.mib)
        sha256 = digest_of(wheel)
        before = peak_kib(asked.pid)
        begun = time.monotonic()
        upload(asked.url, os.environ["ARMWHEELS_TOKEN"], wheel, sha256)
        sent = time.monotonic()
        same = download(asked.url, sha256) == sha256
        fetched = time.monotonic()
    figures = {
        "mib": asked.mib,
        "upload_seconds": round(sent - begun, 2),
        "download_seconds": round(fetched - sent, 2),
        "peak_kib_before": before,
        "peak_kib": peak_kib(asked.pid),
        "same_bytes": same,
    }
    print(json.dumps(figures))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
