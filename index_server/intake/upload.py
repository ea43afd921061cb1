"""Receives an upload, checks it, and makes its record; or reports all reasons why it is refused.

Uploads use the legacy upload API of PyPI, as twine and uv do. The body is read in chunks. Form fields are kept in
memory, up to a limit. The file is hashed, and kept in memory if it is small, else written to a scratch file of the
store. Then the form, the file name and the wheel are checked. The answer lists every fault.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from cryptography.x509 import Certificate
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from index_server.errors import BadUploadError, TooLargeError
from index_server.intake.attestations import FIELD, examine_attestations
from index_server.intake.wheel import WheelContents
from index_server.model import Record, sha256_hex
from index_server.names import WheelName, parse_name, parse_version
from index_server.reasons import Reasons

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_FILE = 16 << 30  # bytes of an uploaded wheel
MAX_FORM = 8 << 20  # bytes of all form fields, including the description
WHOLE = MAX_FILE + MAX_FORM + (1 << 20)  # bytes of an upload, the form included
MAX_PARTS = 4096
MAX_BUILD_NUMBER = (1 << 64) - 1
MAX_HEADER = 1024  # bytes of one header line of a part
MAX_PARAMETERS = 8  # of a header line; clients send two, and the parser needs quadratic time
MAX_CONTENT_TYPE = 500  # characters; a boundary has 70 at most (RFC 2046 section 5.1.1)
SMALL = 1 << 16  # bytes of a file that is kept in memory, and hashed sooner than a thread would begin
UNSYNCED = 64 << 20  # bytes after which an upload syncs; a journal's commit may wait for those of all uploads
BUFFER = 1 << 20  # bytes that are buffered before they are hashed and written

# Its warnings repeat what the client is told.
logging.getLogger("python_multipart").setLevel(logging.ERROR)
_PLAIN_TYPE = re.compile(r"multipart/form-data; boundary=([A-Za-z0-9_'-]{1,70})\Z")

Check = Callable[[Path | bytes, WheelName], WheelContents]


@dataclass
class Upload:
    """An upload that was received and is not yet checked."""

    content: Path | bytes
    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    size: int = 0
    digests: dict[str, str] = field(default_factory=dict)  # by the name of the form field that states them


async def receive(chunks: AsyncIterator[bytes], content_type: str, make_file: Callable[[], Path]) -> Upload:
    """Read a multipart body. Write the file of its ``content`` part to ``make_file()``, unless it is small.

    Raises:
        BadUploadError: the body is not a complete multipart form (RFC 7578).
        TooLargeError: the file or the form is larger than this index accepts.
    """
    boundary = _boundary(content_type)
    delimiter, delimiters, size = b"\r\n--" + boundary, 0, 0
    with closing(_Form(make_file)) as form:
        try:
            parser = MultipartParser(boundary, form.callbacks(), max_header_size=MAX_HEADER)
            async for chunk in chunks:
                size += len(chunk)
                if size > WHOLE:
                    raise TooLargeError(f"the upload is larger than {WHOLE} bytes")
                # The parser is slow at a boundary with a wrong end. No well-formed part contains a boundary.
                delimiters += chunk.count(delimiter)
                if delimiters > MAX_PARTS + 1:
                    raise TooLargeError(f"the form has more than {MAX_PARTS} parts")
                parser.write(chunk)
                if len(form.pending) >= BUFFER:
                    await asyncio.to_thread(form.flush)
            parser.finalize()
        except FormParserError as error:
            raise BadUploadError(f"the body is not a complete multipart form: {error}") from error
        if not form.ended:
            raise BadUploadError("the body ends before the end of the form: it was cut off; send it again")
        if form.upload.size > SMALL:
            await asyncio.to_thread(form.flush)
        return form.finish()


class Examined(NamedTuple):
    """A checked upload: its record, its METADATA file, and its provenance object (:pep:`740`) if it has one."""

    record: Record
    metadata: bytes
    provenance: bytes | None = None


def examine(
    upload: Upload,
    check: Check,
    *,
    at: str,
    by: str,
    authorities: Sequence[Certificate] = (),
    variants: bool = False,
) -> Examined:
    """Check an upload, and its wheel with ``check``. ``authorities`` are those of attestations.

    ``variants`` says whether wheel variants (:pep:`825`) are taken.

    Raises:
        BadUploadError: the upload is refused; the error has every reason.
    """
    faults = _form_faults(upload)
    if upload.filename is None:
        raise BadUploadError(*faults, "the form has no file named `content`")
    try:
        name = parse_name(upload.filename)
    except ValueError as error:
        raise BadUploadError(*faults, str(error)) from error
    if name.label and not variants:
        raise BadUploadError(
            *faults,
            f"{name.filename}: has the name of a wheel variant (PEP 825), which this index does not take "
            "(ARMWHEELS_VARIANTS is off); a build tag begins with a digit",
        )
    faults += _hidden_faults(name)
    faults += _agreement_faults(upload.fields, name)
    attested = examine_attestations(
        upload.fields.get(FIELD),
        filename=name.filename,
        sha256=upload.digests["sha256_digest"],
        by=by,
        authorities=authorities,
    )
    faults += attested.faults
    wheel = check(upload.content, name)
    faults += wheel.faults
    if faults or wheel.facts is None:
        raise BadUploadError(*(f"{name.filename}: {fault}" for fault in faults))
    facts = wheel.facts
    record = Record(
        project=name.project,
        name=facts.name,
        filename=name.filename,
        version=str(name.version),
        build_tag=name.build_tag,
        python_tag=name.python_tag,
        abi_tag=name.abi_tag,
        platform_tag=name.platform_tag,
        size=upload.size,
        sha256=upload.digests["sha256_digest"],
        blake2_256=upload.digests["blake2_256_digest"],
        metadata_sha256=sha256_hex(wheel.metadata),
        requires_python=facts.requires_python,
        summary=facts.summary,
        uploaded_at=at,
        uploaded_by=by,
        tuned=wheel.tuned,
        provenance_sha256=sha256_hex(attested.provenance) if attested.provenance is not None else None,
    )
    return Examined(record, wheel.metadata, attested.provenance)


def _form_faults(upload: Upload) -> Reasons:
    """Return the faults of the form's own fields, and the digests that differ from those of the received bytes."""
    fields, faults = upload.fields, Reasons()
    if fields.get(":action") != "file_upload":
        faults.append("the form's :action must be file_upload")
    if fields.get("protocol_version", "1") != "1":
        faults.append("the form's protocol_version must be 1")
    if fields.get("filetype", "bdist_wheel") != "bdist_wheel":
        faults.append(f"only wheels are accepted, not {fields['filetype']!a}")
    for key, digest in upload.digests.items():
        stated = fields.get(key, "")
        if stated and stated.lower() != digest:
            faults.append(f"{key} says {stated!a} and the bytes that arrived have {digest}")
    return faults


def _hidden_faults(name: WheelName) -> list[str]:
    """Return why uv would not see a wheel of this name, which pip installs."""
    faults = []
    if name.build_number > MAX_BUILD_NUMBER:
        faults.append(
            f"the build number in the file name is larger than {MAX_BUILD_NUMBER}; uv cannot read it"
        )
    tags = (name.python_tag, name.abi_tag, name.platform_tag)
    if any(tag != tag.lower() for tag in tags):
        faults.append("the tags in the file name are not in lower case; uv does not know others")
    return faults


def _agreement_faults(fields: dict[str, str], name: WheelName) -> list[str]:
    """Compare the name and version of the form, if it states them, with the file name. Return the differences."""
    faults = []
    if "name" in fields and canonicalize_name(fields["name"]) != name.project:
        faults.append(f"the form's name is {fields['name']!a} and the file name says {name.project}")
    if "version" in fields:
        try:
            same = parse_version(fields["version"]) == name.version
        except InvalidVersion:
            same = False
        if not same:
            faults.append(
                f"the form's version is {fields['version']!a} and the file name says {name.version}"
            )
    return faults


def _boundary(content_type: str) -> bytes:
    if plain := _PLAIN_TYPE.match(content_type):  # as clients send it; the parser of all other forms is slow
        return plain[1].encode()
    message = Message()
    # The header parser needs quadratic time.
    message["Content-Type"] = content_type if len(content_type) <= MAX_CONTENT_TYPE else ""
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/form-data" or not boundary:
        raise BadUploadError("the body must be multipart/form-data, as twine and uv publish send it")
    return boundary.encode("latin-1", "replace")


class _Form:
    """Collects the parts of a form from the callbacks of the multipart parser."""

    def __init__(self, make_file: Callable[[], Path]) -> None:
        self.upload = Upload(b"")
        self._make_file = make_file
        self._file: BinaryIO | None = None
        self.pending = bytearray()  # of the file, not yet hashed and written
        self.ended = False
        self._sha256 = hashlib.sha256()
        self._blake2 = hashlib.blake2b(digest_size=32)
        self._unsynced = 0  # bytes written since the last sync
        self._parts = 0
        self._form_size = 0
        self._header = (bytearray(), bytearray())
        self._parameters: dict[str, str] = {}  # of the part's Content-Disposition
        self._name = ""  # of the part being read
        self._value = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._part_begin,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def flush(self) -> None:
        """Hash the pending bytes, and write them to the file."""
        if self._file is None:
            self.upload.content = path = self._make_file()
            self._file = path.open("wb", buffering=0)
        data = self._take_pending()
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        self._unsynced += len(data)
        if self._unsynced >= UNSYNCED:
            os.fdatasync(self._file.fileno())
            self._unsynced = 0

    def finish(self) -> Upload:
        """Return the upload, with its content if that is small."""
        if self._file is None:
            self.upload.content = bytes(self._take_pending())
        self.upload.digests = {
            "sha256_digest": self._sha256.hexdigest(),
            "blake2_256_digest": self._blake2.hexdigest(),
        }
        return self.upload

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _take_pending(self) -> bytearray:
        data, self.pending = self.pending, bytearray()
        self._sha256.update(data)
        self._blake2.update(data)
        return data

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise TooLargeError(f"the form has more than {MAX_PARTS} parts")
        self._parameters = {}
        self._value = bytearray()

    def _header_end(self) -> None:
        self._count(sum(map(len, self._header)))
        name, value = (bytes(part).decode("utf-8", "replace") for part in self._header)
        self._header = (bytearray(), bytearray())
        if name.lower() == "content-disposition" and not self._parameters:
            if value.count(";") > MAX_PARAMETERS:
                raise BadUploadError(f"a part of the form has more than {MAX_PARAMETERS} parameters")
            disposition = Message()
            disposition["Content-Disposition"] = value.replace("\r", " ").replace("\n", " ")
            parameters = disposition.get_params([], header="content-disposition")
            # Of a parameter that occurs twice, the first one counts. One that states a charset has no use here.
            self._parameters = {
                key.lower(): text if isinstance(text, str) else "" for key, text in reversed(parameters)
            }

    def _headers_finished(self) -> None:
        self._name = self._parameters.get("name", "")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "content":
            self.upload.size += end - start
            if self.upload.size > MAX_FILE:
                raise TooLargeError(f"the file is larger than {MAX_FILE} bytes")
            self.pending += data[start:end]
            return
        self._count(end - start)
        self._value += data[start:end]

    def _part_end(self) -> None:
        if self._name == "content":
            if self.upload.filename is not None:
                raise BadUploadError("the form has more than one file")
            self.upload.filename = self._parameters.get("filename", "")
        else:
            self.upload.fields.setdefault(self._name, bytes(self._value).decode("utf-8", "replace"))

    def _count(self, size: int) -> None:
        self._form_size += size
        if self._form_size > MAX_FORM:
            raise TooLargeError(f"the form's fields are larger than {MAX_FORM} bytes")

    def _end(self) -> None:
        self.ended = True
