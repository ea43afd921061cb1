"""Checks the files of a wheel, their hashes, and their agreement with the file name.

The rules come from the binary distribution format (PEP 427 and the current specification), core metadata (PEP 566,
643, 685), the record of installed files (PEP 376, 627), and the passport's JSON Schema. Installers do not check
most of them, so the index does.
"""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from jsonschema import Draft202012Validator
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from index_server.intake.archive import Member, ZipFaultError, read_archive, read_member, unpack
from index_server.intake.metadata import Facts, check_metadata, check_wheel_file
from index_server.intake.passport import check_passport
from index_server.model import Tuned
from index_server.names import WheelName, parse_version
from index_server.reasons import Reasons
from index_server.rules.variants import LABELS, document
from index_server.targets import Targets

MAX_METADATA = 4 << 20
MAX_WHEEL_FILE = 1 << 20
MAX_PASSPORT = 1 << 20
MAX_RECORD = 64 << 20
MAX_VARIANT = 1 << 16
RECORD_LINE = 200  # bytes of a RECORD line without its path; a sha512 hash and a size need 110
RECORD_SLACK = 1 << 16  # bytes for RECORD lines of missing files
_STRONG = {"sha256", "sha384", "sha512"}  # PEP 376: sha256 or better
_UNHASHED = ("RECORD", "RECORD.jws", "RECORD.p7s")


@dataclass
class WheelContents:
    """The result of reading a wheel. It is complete only if ``faults`` is empty."""

    faults: Reasons = field(default_factory=Reasons)
    metadata: bytes = b""
    facts: Facts | None = None
    tuned: Tuned | None = None


def read_wheel(
    content: Path | bytes,
    name: WheelName,
    targets: Targets,
    passport: Draft202012Validator,
    *,
    mirrored: bool = False,
) -> WheelContents:
    """Check a wheel, which is a file or its bytes. Large files are never read into memory as a whole.

    A ``mirrored`` wheel is already published elsewhere, and its digest was compared with that index. So it must
    only have what installers need.
    """
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        return _read(file, name, targets, passport, mirrored=mirrored)


def _read(
    file: BinaryIO, name: WheelName, targets: Targets, passport: Draft202012Validator, *, mirrored: bool
) -> WheelContents:
    wheel = WheelContents()
    members, wheel.faults = read_archive(file)
    if wheel.faults:  # the content of an ambiguous archive is not worth checking
        return wheel
    files = {member.name: member for member in members if not member.is_folder}
    info = _dist_info(files, name, wheel.faults)
    if info is None:
        return wheel
    reader = _Reader(file, files, info, wheel.faults)
    # RECORD is CSV, so that each quotation mark in a path may be doubled.
    warranted = sum(2 * len(each.encode()) + RECORD_LINE for each in files) + RECORD_SLACK
    record = reader.read("RECORD", min(MAX_RECORD, warranted), required=True)
    if record is not None:
        _check_record(file, files, info, record, wheel.faults, mirrored=mirrored)
    data = reader.read("WHEEL", MAX_WHEEL_FILE, required=True)
    if data is not None:
        tuned = f"{info}/armwheels.json" in files
        check_wheel_file(data, name, wheel.faults, tuned=tuned, mirrored=mirrored)
    data = reader.read("METADATA", MAX_METADATA, required=True)
    if data is not None:
        wheel.metadata = data
        wheel.facts = check_metadata(data, name, wheel.faults, mirrored=mirrored)
    data = reader.read("armwheels.json", MAX_PASSPORT, required=False)
    if data is not None:
        wheel.tuned = check_passport(data, name, targets, passport, wheel.faults)
    if name.label:
        wheel.faults += _variant_faults(name.label, reader)
    return wheel


@dataclass
class _Reader:
    """Reads members of the ``.dist-info`` folder."""

    file: BinaryIO
    files: dict[str, Member]
    info: str
    faults: Reasons

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


def _variant_faults(label: str, reader: _Reader) -> Iterator[str]:
    """Yield why the wheel is not the variant (PEP 825) that its name says."""
    if label not in LABELS:
        yield f"{label!a} is no label of this index; there is {', '.join(LABELS)}"
        return
    data = reader.read("variant.json", MAX_VARIANT, required=True)
    if data is not None and data != document([label]):
        yield f"variant.json is not the document of the label {label}, byte by byte"


def _dist_info(files: dict[str, Member], name: WheelName, faults: Reasons) -> str | None:
    """Return the name of the only ``.dist-info`` folder, or None.

    The names of ``.dist-info`` and ``.data`` folders must agree with the file name.
    """
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
        return canonicalize_name(project) == name.project and parse_version(version) == name.version
    except InvalidVersion:
        return False


def _check_record(
    file: BinaryIO,
    files: dict[str, Member],
    info: str,
    content: bytes,
    faults: Reasons,
    *,
    mirrored: bool,
) -> None:
    """Check that RECORD lists exactly the wheel's files, each once and with its hash.

    Installers do not compare them. So in a mirrored wheel, RECORD must only be readable, and each file must unpack.
    """
    listed: dict[str, tuple[str, str]] = {}
    try:
        for row in csv.reader(content.decode("utf-8").splitlines()):
            if len(row) != 3:
                faults.append(f"RECORD: {','.join(row)!a} is not a line of three fields")
            elif row[0] in listed:
                faults.append(f"RECORD lists {row[0]!a} twice")
            else:
                listed[row[0]] = (row[1], row[2])
    except (UnicodeDecodeError, csv.Error) as error:
        faults.append(f"RECORD cannot be read: {error}")
        return
    if mirrored:
        faults += _broken(file, files)
        return
    unhashed = {f"{info}/{name}" for name in _UNHASHED}
    faults += (f"RECORD lists {name!a}, which is not in the wheel" for name in listed if name not in files)
    faults += (f"{name!a} is not in RECORD" for name in files if name not in listed and name not in unhashed)
    for name, member in files.items():
        stated = listed.get(name)
        try:
            fault = _compare(file, member, stated, hashed=name not in unhashed)
        except ZipFaultError as error:
            fault = str(error)
        if fault:
            faults.append(fault)


def _broken(file: BinaryIO, files: dict[str, Member]) -> Iterator[str]:
    """Yield a fault for each file that does not unpack to its stated size and CRC."""
    for member in files.values():
        try:
            for _ in unpack(file, member):
                pass
        except ZipFaultError as error:
            yield str(error)


def _compare(file: BinaryIO, member: Member, stated: tuple[str, str] | None, *, hashed: bool) -> str | None:
    """Unpack a member and compare it with its RECORD line. Return the difference, or None.

    Raises:
        ZipFaultError: the member does not unpack to its stated size and CRC.
    """
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
