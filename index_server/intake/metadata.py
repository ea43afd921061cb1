"""Checks of the METADATA and WHEEL files of a wheel.

The libraries that parse them need quadratic time for many field names, long content types and deeply nested
markers. Some input makes them raise undocumented exceptions. So the number, length and depth of fields are limited
before a library parses them. Published wheels stay far below the limits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser

from packaging.metadata import InvalidMetadata, Metadata
from packaging.tags import Tag, parse_tag
from packaging.utils import canonicalize_name

from index_server.names import MAX_TAGS, WheelName
from index_server.reasons import Reasons

MAX_LINES = 20_000  # of all fields; a field may have several lines
MAX_SUMMARY = 300  # characters of Summary that a record stores
MAX_KINDS = 64  # distinct field names; the specification has 33
MAX_DEPTH = 50  # parentheses in one requirement
MAX_DIGITS = 18  # of a number in a version or specifier; uv skips a version with a number beyond 64 bits
MAX_MARKER_DIGITS = 40  # of any other number, as in a marker or URL; int() raises ValueError above 4,300
MAX_LENGTHS = {  # characters of fields that are parsed further
    "metadata-version": 20,
    "name": 200,
    "version": 200,
    "requires-python": 1000,
    "requires-dist": 4000,
    "provides-extra": 200,
    "license-expression": 2000,
    "license-file": 1000,
    "description-content-type": 200,
    "dynamic": 100,
    "import-name": 1000,
    "import-namespace": 1000,
    "tag": 1000,
}
_LINE = re.compile(rb"\r\n|\r(?!\n)|\n")
_BLANK = re.compile(rb"(?:%b){2}" % _LINE.pattern)
_NUMBERED = frozenset({"version", "requires-python", "requires-dist"})
_LONG_NUMBER = re.compile(f"[0-9]{{{MAX_DIGITS + 1}}}")
_LONGER_NUMBER = re.compile(f"[0-9]{{{MAX_MARKER_DIGITS + 1}}}")
_NO_SPECIFIER = re.compile("[@;+]")  # before a URL, a marker or a local version
# Fields that change how the email parser reads the body, which must be the description.
_FOREIGN = frozenset({"content-type", "content-transfer-encoding", "mime-version"})


@dataclass(frozen=True)
class Facts:
    """The fields of METADATA that a record stores."""

    name: str
    requires_python: str | None
    summary: str


def read_headers(content: bytes, file: str, faults: Reasons) -> Message | None:
    """Return the headers of METADATA or WHEEL; None if they exceed a limit, with the reasons in ``faults``."""
    end = _BLANK.search(content)
    lines = len(_LINE.findall(content, 0, end.start() if end else len(content)))
    if lines > MAX_LINES:
        faults.append(f"{file}: has {lines} lines of fields; {MAX_LINES} are allowed")
        return None
    message: Message = BytesParser().parsebytes(content, headersonly=True)
    fields = [(name.lower(), value) for name, value in message.raw_items()]
    kinds = {name for name, _ in fields}
    found = Reasons()
    if len(kinds) > MAX_KINDS:
        found.append(f"{file}: has fields of {len(kinds)} names; {MAX_KINDS} are allowed")
    found += (f"{file}: unrecognized field: {name!a}" for name in sorted(kinds & _FOREIGN))
    for name, value in fields:
        text = str(value)
        if len(text) > MAX_LENGTHS.get(name, len(text)):
            found.append(f"{file}: {name} has {len(text)} characters; {MAX_LENGTHS[name]} are allowed")
        elif name in _NUMBERED and _LONG_NUMBER.search(_NO_SPECIFIER.split(text, maxsplit=1)[0]):
            found.append(f"{file}: {name} has a number of more than {MAX_DIGITS} digits: {text!a}")
        elif name in _NUMBERED and _LONGER_NUMBER.search(text):
            found.append(f"{file}: {name} has a number of more than {MAX_MARKER_DIGITS} digits: {text!a}")
        elif name == "requires-dist" and text.count("(") > MAX_DEPTH:
            found.append(f"{file}: {name} has more than {MAX_DEPTH} parentheses: {text!a}")
    faults += found
    return None if found else message


def check_metadata(content: bytes, name: WheelName, faults: Reasons, *, mirrored: bool) -> Facts | None:
    """Check that METADATA is valid core metadata, with the project and version of the file name.

    In a mirrored wheel, only name, version and Requires-Python must be valid, since installers read only these.
    Many published wheels use a field that their metadata version does not have. Others state metadata version 2.0,
    which was never specified.
    """
    if read_headers(content, "METADATA", faults) is None:
        return None
    try:
        if mirrored:
            return _facts(Metadata.from_email(content, validate=False), name, faults)
        parsed = Metadata.from_email(content, validate=True)
    except InvalidMetadata as error:
        faults.append(f"METADATA: {error.field}: {error}")
        return None
    except ExceptionGroup as group:
        real = [fault for fault in group.exceptions if not _is_early_license_file(fault)]
        for fault in real:
            where = f"{fault.field}: " if isinstance(fault, InvalidMetadata) else ""
            faults.append(f"METADATA: {where}{fault}")
        if real:
            return None
        parsed = Metadata.from_email(content, validate=False)
    return _facts(parsed, name, faults)


def check_wheel_file(
    content: bytes, name: WheelName, faults: Reasons, *, tuned: bool, mirrored: bool
) -> None:
    """Check that WHEEL states a known format version, and the tags of the file name.

    Installers read the tags from the file name only, and published wheels list additional tags in WHEEL. So WHEEL
    may list more tags, except in a wheel that is tuned for a CPU. In a mirrored wheel, only the format version is
    checked.
    """
    message = read_headers(content, "WHEEL", faults)
    if message is None:
        return
    version = str(message.get("Wheel-Version", ""))
    if not re.match(r"1\.[0-9]+\Z", version):
        faults.append(f"WHEEL: Wheel-Version is {version!a}; only 1.x is known")
    if mirrored:
        return
    if str(message.get("Root-Is-Purelib", "")).lower() not in ("true", "false"):
        faults.append("WHEEL: Root-Is-Purelib must be true or false")
    tags: set[Tag] = set()
    for text in message.get_all("Tag", []):
        try:
            found = parse_tag(str(text).strip(), limit=MAX_TAGS)
        except ValueError as error:
            faults.append(f"WHEEL: {str(text)!a} is not a tag: {error}")
            continue
        tags |= found
        if len(tags) > MAX_TAGS:
            faults.append(f"WHEEL: names more than {MAX_TAGS} tags")
            break
    if not tags >= name.tags or (tuned and tags != name.tags):
        ours, theirs = (" ".join(sorted(map(str, some))) or "none" for some in (name.tags, tags))
        faults.append(f"WHEEL: its tags ({theirs}) are not those of the file name ({ours})")
    build = message.get("Build")
    if build is not None and str(build).strip() != name.build_tag:
        faults.append(f"WHEEL: Build is {str(build)!a} and the file name says {name.build_tag!a}")


def _facts(parsed: Metadata, name: WheelName, faults: Reasons) -> Facts:
    """Return the fields that a record stores, after comparing name and version with the file name."""
    if canonicalize_name(parsed.name) != name.project:
        faults.append(f"METADATA: Name is {parsed.name!a} and the file name says {name.project}")
    if parsed.version != name.version:
        faults.append(f"METADATA: Version is {parsed.version} and the file name says {name.version}")
    requires_python = str(parsed.requires_python) if parsed.requires_python else None
    return Facts(parsed.name, requires_python, (parsed.summary or "")[:MAX_SUMMARY])


def _is_early_license_file(fault: Exception) -> bool:
    """Whether the fault is License-File in a metadata version before 2.4 (:pep:`639`).

    setuptools and wheel wrote the field for years before.
    """
    early = "introduced in metadata version" in str(fault)
    return isinstance(fault, InvalidMetadata) and fault.field == "license-file" and early
