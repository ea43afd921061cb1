"""Makes small real wheels, and broken ones, for the index's tests."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from index_server.rules.variants import document

EPOCH = (2026, 11, 23, 0, 0, 0)


def member(name: str, *, mode: int = 0o100644) -> zipfile.ZipInfo:
    """A member's header with a fixed date."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.external_attr = mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def record_line(name: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def wheel_files(
    filename: str,
    *,
    files: Mapping[str, bytes] | None = None,
    metadata: str = "",
    passport: Mapping[str, Any] | None = None,
    variant: str = "",
) -> dict[str, bytes]:
    """All members of a sound wheel of this name, RECORD last; ``variant`` is the label at the end of the name."""
    stem = filename.removesuffix(".whl").removesuffix(f"-{variant}")
    name, version, *_ = stem.split("-")
    python, abi, platform = stem.split("-")[-3:]
    tags = [f"{p}-{a}-{q}" for p in python.split(".") for a in abi.split(".") for q in platform.split(".")]
    info = f"{name}-{version}.dist-info"
    members = {f"{name}/__init__.py": b"answer = 42\n", **(files or {})}
    members[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}\n".encode()
    )
    lines = [
        "Wheel-Version: 1.0",
        "Generator: tests",
        "Root-Is-Purelib: true",
        *(f"Tag: {tag}" for tag in tags),
    ]
    members[f"{info}/WHEEL"] = ("\n".join(lines) + "\n").encode()
    if passport is not None:
        members[f"{info}/armwheels.json"] = json.dumps(passport).encode()
    if variant:
        members[f"{info}/variant.json"] = document([variant])
    record = "".join(record_line(path, data) for path, data in members.items()) + f"{info}/RECORD,,\n"
    members[f"{info}/RECORD"] = record.encode()
    return members


def pack(members: Mapping[str, bytes]) -> bytes:
    """A ZIP archive of these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(member(name), data)
    return buffer.getvalue()


def make_wheel(filename: str, **parts: Any) -> bytes:
    """The bytes of a sound wheel of this name."""
    return pack(wheel_files(filename, **parts))


def make_passport(
    *,
    recipe: str = "demo",
    version: str = "1.0",
    python: str = "cp311",
    target: str = "neoverse-v1",
    backend: str = "none",
    default_backend: bool = True,
    wheel_digest: str = "3fa9c2d1" + "0" * 56,
) -> dict[str, Any]:
    """A passport that the schema takes."""
    pinned = {"name": "gcc", "version": "14", "sha256": "1" * 64}
    return {
        "schema": 1,
        "build": f"{recipe}-{version}-{python}-{target}-{backend}",
        "recipe": recipe,
        "version": version,
        "python": python,
        "target": target,
        "backend": backend,
        "default_backend": default_backend,
        "compiler": {"name": "gcc", "version": "14"},
        "flags": [f"-mcpu={target}"],
        "flags_observed": [f"-mcpu={target}"],
        "source": {"kind": "sdist", "origin": "demo-1.0.tar.gz", "sha256": "2" * 64},
        "dependencies": [],
        "toolchain": [pinned],
        "glibc_floor": "2.28",
        "digests": {"compile": "4" * 64, "wheel": wheel_digest},
        "source_date_epoch": 1700000000,
    }


def tuned_wheel(**facts: Any) -> tuple[str, bytes]:
    """A sound wheel with a passport: its file name and bytes; ``salt`` makes other bytes."""
    salt = facts.pop("salt", "")
    number = facts.pop("number", 1)
    passport = make_passport(**facts)
    local = passport["target"].replace("-", ".")
    if not passport["default_backend"]:
        local += "." + passport["backend"].replace("-", ".")
    recipe, version, python = passport["recipe"], passport["version"], passport["python"]
    digest = passport["digests"]["wheel"][:8]
    filename = f"{recipe}-{version}+{local}-{number}_{digest}-{python}-{python}-manylinux_2_28_aarch64.whl"
    files = {f"{recipe}/salt.txt": salt.encode()} if salt else {}
    return filename, make_wheel(filename, passport=passport, files=files)


def variant_wheel(
    label: str, *, passport: Mapping[str, Any] | None = None, **facts: Any
) -> tuple[str, bytes]:
    """A sound wheel variant (PEP 825) made from a tuned wheel: its file name and bytes."""
    salt, files = facts.pop("salt", ""), facts.pop("files", {})
    facts.setdefault("wheel_digest", hashlib.sha256(f"{label}{salt}".encode()).hexdigest())
    told = {**make_passport(**facts), "variant": {"label": label, "of": "5" * 64}, **(passport or {})}
    recipe, version, python = told["recipe"], told["version"], told["python"]
    digest = told["digests"]["wheel"][:8]
    platform = "manylinux_2_28_aarch64"
    filename = f"{recipe}-{version}+generic-1_{digest}-{python}-{python}-{platform}-{label}.whl"
    return filename, make_wheel(filename, passport=told, variant=label, files=files)
