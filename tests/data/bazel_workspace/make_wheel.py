"""Put the files named on the command line into a wheel (PEP 427); the first name is the wheel's."""

import base64
import hashlib
import sys
import zipfile
from pathlib import Path

wheel, *files = map(Path, sys.argv[1:])
name, version, python, abi, platform = wheel.stem.split("-")
info = f"{name}-{version}.dist-info"
members = {f"bazel_demo/{file.name}": file.read_bytes() for file in files}
members["bazel_demo/__init__.py"] = b"from ._dot import about, dot\n"
members[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
tag = f"{python}-{abi}-{platform}"
members[f"{info}/WHEEL"] = (
    f"Wheel-Version: 1.0\nGenerator: demo\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
)
record = [
    f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},{len(data)}\n"
    for path, data in members.items()
]
members[f"{info}/RECORD"] = "".join([*record, f"{info}/RECORD,,\n"]).encode()
with zipfile.ZipFile(wheel, "w") as archive:
    for path, data in members.items():
        archive.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), data)
