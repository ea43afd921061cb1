"""Fuzz the parsers of uploads: archive, METADATA, WHEEL, RECORD, passport, multipart form, file name.

    pip install atheris
    .venv/bin/python -m scripts.fuzz_intake --seconds 60

Each target runs in a separate process under libFuzzer, with instrumented code. A target fails if it raises an
exception other than a refusal, or if one input takes more than 10 seconds or 1 GiB. Then libFuzzer prints the
input. Inputs that reach new code are stored in the folder of ``--corpus`` for the next run.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

NAME = "demo-1.0-py3-none-any.whl"
INFO = "demo-1.0.dist-info"
METADATA = b"""\
Metadata-Version: 2.4
Name: demo
Version: 1.0
Summary: s
Keywords: a,b
Requires-Python: >=3.11,!=3.12.*
Requires-Dist: a[x]>=1.0; (python_version > "3.8" and os_name == "posix") or extra == "e"
Provides-Extra: e
License-Expression: MIT OR (Apache-2.0 WITH LLVM-exception)
License-File: LICENSE
Project-URL: a, https://b.invalid
Description-Content-Type: text/markdown; charset=UTF-8; variant=GFM
Dynamic: summary

Text
"""
WHEEL = b"Wheel-Version: 1.0\nGenerator: g\nRoot-Is-Purelib: true\nTag: py3-none-any\nBuild: 1\n"
RECORD = f'"demo/a,b.py",sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n{INFO}/RECORD,,\n'.encode()
BOUNDARY = b"b0undary"
FORM = (
    b'--b0undary\r\nContent-Disposition: form-data; name=":action"\r\n\r\nfile_upload\r\n'
    b'--b0undary\r\nContent-Disposition: form-data; name="content"; filename="demo-1.0-py3-none-any.whl"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\nPK\r\n--b0undary--\r\n"
)
PASSPORT = (
    b'{"schema":1,"build":"demo-1.0-cp311-neoverse-v1-none","recipe":"demo","version":"1.0","python":"cp311",'
    b'"target":"neoverse-v1","backend":"none","default_backend":true,"flags":["-mcpu=x"],"digests":{"compile":"0"}}'
)


def packed(**members: bytes) -> bytes:
    """Return a wheel with these files in its ``.dist-info`` folder."""
    files = {"METADATA": METADATA, "WHEEL": WHEEL, "RECORD": RECORD, **members}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("demo/a,b.py", b"")
        for name, data in files.items():
            archive.writestr(f"{INFO}/{name}", data)
    return buffer.getvalue()


SEEDS: dict[str, list[bytes]] = {
    "archive": [packed(), packed(**{"armwheels.json": PASSPORT})],
    "metadata": [METADATA],
    "wheel_file": [WHEEL],
    "record": [RECORD],
    "passport": [PASSPORT],
    "form": [FORM],
    "name": [
        NAME.encode(),
        b"Demo.Thing-1!2.0rc1+a.b-1_x-cp311.py3-abi3.none-manylinux_2_17_aarch64.any.whl",
    ],
}


def run(target: str, arguments: list[str]) -> None:
    """Fuzz one target until libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(
        include=["index_server", "packaging", "python_multipart", "zipfile", "email", "csv"]
    ):
        from index_server.errors import RequestError
        from index_server.intake.upload import examine, receive
        from index_server.intake.wheel import read_wheel
        from index_server.names import parse_name
        from index_server.reasons import MAX_REASON, MAX_REASONS
        from index_server.settings import load_settings

    settings = load_settings()
    path = Path(tempfile.mkdtemp(prefix="fuzz-")) / "wheel"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        for mirrored in (False, True):
            faults = list(
                read_wheel(
                    path, parse_name(NAME), settings.targets, settings.passport, mirrored=mirrored
                ).faults
            )
            if len(faults) > MAX_REASONS or any(len(fault) > MAX_REASON for fault in faults):
                raise AssertionError("reasons are not bounded")

    def form(data: bytes) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(data), 97):
                yield data[at : at + 97]

        check = partial(read_wheel, targets=settings.targets, passport=settings.passport)
        with suppress(RequestError):
            content_type = "multipart/form-data; boundary=b0undary"
            upload = asyncio.run(receive(chunks(), content_type, lambda: path))
            examine(upload, check, at="", by="")

    def name(data: bytes) -> None:
        with suppress(ValueError):
            parse_name(data.decode("utf-8", "surrogateescape"))

    ways: dict[str, Callable[[bytes], None]] = {
        "archive": read,
        "metadata": lambda data: read(packed(METADATA=data)),
        "wheel_file": lambda data: read(packed(WHEEL=data)),
        "record": lambda data: read(packed(RECORD=data)),
        "passport": lambda data: read(packed(**{"armwheels.json": data})),
        "form": form,
        "name": name,
    }
    atheris.Setup([target, *arguments], ways[target])
    atheris.Fuzz()


def main() -> None:
    """Run the targets one after another. The exit code is 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("targets", nargs="*", default=list(SEEDS), help=f"one or more of {', '.join(SEEDS)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--corpus", type=Path, default=Path("var/fuzz"), help="folder of inputs")
    if sys.argv[1:2] == ["--one"]:  # a process of its own for a target; the other arguments are libFuzzer's
        run(sys.argv[2], sys.argv[3:])
        return
    given = parser.parse_args()
    failed = []
    for target in given.targets:
        folder = given.corpus / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(SEEDS[target]):
            (folder / f"seed{number}").write_bytes(seed)
        limits = [f"-max_total_time={given.seconds}", "-timeout=10", "-rss_limit_mb=1024", "-max_len=65536"]
        artifacts = f"-artifact_prefix={folder.parent}/{target}-"
        command = [sys.executable, "-m", "scripts.fuzz_intake", "--one", target, str(folder)]
        done = subprocess.run([*command, *limits, artifacts, "-print_final_stats=1"], check=False)
        print(f"{target}: {'failed' if done.returncode else 'nothing found'}", flush=True)
        if done.returncode:
            failed.append(target)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
