"""What a wheel says of itself, checked against its bytes and its name.

Rules from the binary distribution format (PEP 427 and its later form), core metadata (PEP 566, 643, 685),
the recording of installed files (PEP 376, 627) and the passport's JSON Schema. Installers let most of these
faults through, so the index must not.
"""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import re
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import BinaryIO

import orjson
from jsonschema import Draft202012Validator
from packaging.metadata import InvalidMetadata, Metadata
from packaging.tags import Tag, parse_tag
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from index_server.intake.archive import Member, ZipFaultError, read_archive, read_member, unpack
from index_server.model import Tuned
from index_server.names import WheelName
from index_server.rules.passport import disagreements
from index_server.targets import Targets

MAX_METADATA = 4 << 20
MAX_WHEEL_FILE = 1 << 20
MAX_PASSPORT = 1 << 20
MAX_RECORD = 64 << 20
_STRONG = {"sha256", "sha384", "sha512"}  # PEP 376: sha256 or better
_UNHASHED = ("RECORD", "RECORD.jws", "RECORD.p7s")


@dataclass
class WheelContents:
    """All that reading a wheel gives; only whole where ``faults`` is empty."""

    faults: list[str] = field(default_factory=list)
    metadata: bytes = b""
    parsed: Metadata | None = None
    tuned: Tuned | None = None


def read_wheel(
    path: Path, name: WheelName, targets: Targets, passport: Draft202012Validator
) -> WheelContents:
    """Check the wheel at ``path``; nothing is trusted, nothing large is held in memory."""
    wheel = WheelContents()
    members, wheel.faults = read_archive(path)
    if wheel.faults:  # what an archive of two meanings says further is worth nothing
        return wheel
    files = {member.name: member for member in members if not member.is_folder}
    info = _dist_info(files, name, wheel.faults)
    if info is None:
        return wheel
    with path.open("rb") as file:
        reader = _Reader(file, files, info, wheel.faults)
        record = reader.read("RECORD", MAX_RECORD, required=True)
        if record is not None:
            _check_record(file, files, info, record, wheel.faults)
        content = reader.read("WHEEL", MAX_WHEEL_FILE, required=True)
        if content is not None:
            _check_wheel_file(content, name, wheel.faults)
        wheel.metadata = reader.read("METADATA", MAX_METADATA, required=True) or b""
        if wheel.metadata:
            wheel.parsed = _check_metadata(wheel.metadata, name, wheel.faults)
        content = reader.read("armwheels.json", MAX_PASSPORT, required=False)
        if content is not None:
            wheel.tuned = _check_passport(content, name, targets, passport, wheel.faults)
    return wheel


@dataclass
class _Reader:
    """Reads members of the dist-info folder."""

    file: BinaryIO
    files: dict[str, Member]
    info: str
    faults: list[str]

    def read(self, name: str, limit: int, *, required: bool) -> bytes | None:
        member = self.files.get(f"{self.info}/{name}")
        if member is None:
            if required:
                self.faults.append(f"{self.info}/{name} is missing")
            return None
        try:
            return read_member(self.file, member, limit)
        except ZipFaultError as error:
            self.faults.append(str(error))
            return None


def _dist_info(files: dict[str, Member], name: WheelName, faults: list[str]) -> str | None:
    """The one ``.dist-info`` folder, which must be named as the file is; likewise for ``.data``."""
    tops = {file.split("/", 1)[0] for file in files if "/" in file}
    infos = sorted(top for top in tops if top.endswith(".dist-info"))
    for top in sorted(tops):
        stem, _, kind = top.rpartition(".")
        if kind in ("dist-info", "data") and not _same_release(stem, name):
            faults.append(f"{top}: belongs to another project or version than {name.filename}")
    if len(infos) != 1:
        faults.append(f"holds {len(infos)} .dist-info folders, not one: {', '.join(infos) or 'none'}")
        return None
    return infos[0]


def _same_release(stem: str, name: WheelName) -> bool:
    project, _, version = stem.rpartition("-")
    try:
        return canonicalize_name(project) == name.project and Version(version) == name.version
    except InvalidVersion:
        return False


def _check_record(
    file: BinaryIO, files: dict[str, Member], info: str, content: bytes, faults: list[str]
) -> None:
    """Every file is in RECORD once with a true hash, and RECORD lists no other."""
    listed: dict[str, tuple[str, str]] = {}
    try:
        rows = list(csv.reader(content.decode("utf-8").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        faults.append(f"RECORD cannot be read: {error}")
        return
    for row in rows:
        if len(row) != 3:
            faults.append(f"RECORD: {','.join(row)!a} is not a line of three fields")
        elif row[0] in listed:
            faults.append(f"RECORD lists {row[0]!a} twice")
        else:
            listed[row[0]] = (row[1], row[2])
    unhashed = {f"{info}/{name}" for name in _UNHASHED}
    faults += [f"RECORD lists {name!a}, which is not in the wheel" for name in listed if name not in files]
    faults += [f"{name!a} is not in RECORD" for name in files if name not in listed and name not in unhashed]
    for name, member in files.items():
        stated = listed.get(name)
        try:
            fault = _compare(file, member, stated, hashed=name not in unhashed)
        except ZipFaultError as error:
            fault = str(error)
        if fault:
            faults.append(fault)


def _compare(file: BinaryIO, member: Member, stated: tuple[str, str] | None, *, hashed: bool) -> str | None:
    """Unpack a member to its end, and say how it differs from its line in RECORD."""
    algorithm, _, digest = stated[0].partition("=") if stated else ("", "", "")
    engine = hashlib.new(algorithm if algorithm in _STRONG else "sha256")
    for chunk in unpack(file, member):
        engine.update(chunk)
    if stated is None or (not hashed and not algorithm):
        return None
    if algorithm not in _STRONG:
        return f"RECORD gives {member.name!a} no hash of sha256 or better"
    try:
        raw = base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4))
    except (binascii.Error, ValueError):
        raw = b""
    if raw != engine.digest():
        return f"RECORD gives {member.name!a} a hash that its bytes do not have"
    if stated[1] and stated[1] != str(member.size):
        return f"RECORD gives {member.name!a} a size of {stated[1]!a}; it has {member.size} bytes"
    return None


def _check_wheel_file(content: bytes, name: WheelName, faults: list[str]) -> None:
    """WHEEL must name a known format and the tags of the file name."""
    message: Message = BytesParser().parsebytes(content)
    version = str(message.get("Wheel-Version", ""))
    if not re.match(r"1\.[0-9]+\Z", version):
        faults.append(f"WHEEL: Wheel-Version is {version!a}; only 1.x is known")
    if str(message.get("Root-Is-Purelib", "")).lower() not in ("true", "false"):
        faults.append("WHEEL: Root-Is-Purelib must be true or false")
    tags: set[Tag] = set()
    for text in message.get_all("Tag", []):
        try:
            tags |= parse_tag(str(text).strip())
        except ValueError:
            faults.append(f"WHEEL: {str(text)!a} is not a tag")
    if tags != name.tags:
        ours, theirs = (" ".join(sorted(map(str, some))) or "none" for some in (name.tags, tags))
        faults.append(f"WHEEL: its tags ({theirs}) are not those of the file name ({ours})")
    build = message.get("Build")
    if build is not None and str(build).strip() != name.build_tag:
        faults.append(f"WHEEL: Build is {str(build)!a} and the file name says {name.build_tag!a}")


def _check_metadata(content: bytes, name: WheelName, faults: list[str]) -> Metadata | None:
    """METADATA must be valid core metadata of the release that the file name states."""
    try:
        parsed = Metadata.from_email(content, validate=True)
    except ExceptionGroup as group:
        real = [fault for fault in group.exceptions if not _is_early_license_file(fault)]
        for fault in real:
            where = f"{fault.field}: " if isinstance(fault, InvalidMetadata) else ""
            faults.append(f"METADATA: {where}{fault}")
        if real:
            return None
        parsed = Metadata.from_email(content, validate=False)
    if canonicalize_name(parsed.name) != name.project:
        faults.append(f"METADATA: Name is {parsed.name!a} and the file name says {name.project}")
    if parsed.version != name.version:
        faults.append(f"METADATA: Version is {parsed.version} and the file name says {name.version}")
    return parsed


def _is_early_license_file(fault: Exception) -> bool:
    """setuptools and wheel wrote License-File for years before :pep:`639` gave it a metadata version."""
    early = "introduced in metadata version" in str(fault)
    return isinstance(fault, InvalidMetadata) and fault.field == "license-file" and early


def _check_passport(
    content: bytes, name: WheelName, targets: Targets, schema: Draft202012Validator, faults: list[str]
) -> Tuned | None:
    """The passport must be valid and say what the file name says."""
    try:
        data = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        faults.append(f"passport: not JSON: {error}")
        return None
    errors = sorted(schema.iter_errors(data), key=lambda fault: list(map(str, fault.absolute_path)))
    for fault in errors:
        where = ".".join(map(str, fault.absolute_path)) or "(top level)"
        faults.append(f"passport: {where}: {fault.message[:300]}")
    if errors:
        return None
    found = disagreements(data, name, targets)
    if data["digests"]["wheel"].endswith("\n"):  # Python's `$` in the schema's patterns lets it through
        found.append("digests.wheel ends in a line break")
    if found:
        faults += [f"passport: {fault}" for fault in found]
        return None
    return Tuned(
        build=data["build"],
        recipe=data["recipe"],
        version=str(Version(data["version"])),
        python=data["python"],
        target=data["target"],
        backend=data["backend"],
        default_backend=data["default_backend"],
        wheel_digest=data["digests"]["wheel"],
    )
