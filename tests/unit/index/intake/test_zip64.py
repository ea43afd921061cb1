"""Wheels beyond 4 GiB, which only ZIP64 can hold: real ones, their zeros a hole in the file."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import tracemalloc
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from index_server.errors import BadUploadError
from index_server.intake.upload import Upload, examine
from index_server.intake.wheel import read_wheel
from index_server.model import Record
from index_server.settings import Settings
from tests.helpers.wheels import member, record_line, wheel_files

pytestmark = pytest.mark.slow
NAME = "demo-1.0-py3-none-any.whl"
ZEROS = bytes(4 << 20)
CHUNKS = 1025  # 4 MiB beyond what 32 bits can say
MEMORY = 32 << 20  # bytes that Python may hold while it examines the wheel


class Sparse(io.FileIO):
    """A file that leaves a hole where :data:`ZEROS` are written."""

    def write(self, data: Any) -> int:
        if data is ZEROS:
            self.seek(len(ZEROS), io.SEEK_CUR)
            return len(ZEROS)
        return super().write(data)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound wheel with one stored member of 4 GiB and 4 MiB, and all others behind it."""
    path = tmp_path_factory.mktemp("large") / NAME
    engine = hashlib.sha256()
    for _ in range(CHUNKS):
        engine.update(ZEROS)
    digest = base64.urlsafe_b64encode(engine.digest()).rstrip(b"=").decode()
    files = wheel_files(NAME)
    *rest, record = files
    lines = [f"demo/zeros,sha256={digest},{CHUNKS * len(ZEROS)}\n"]
    lines += [record_line(name, files[name]) for name in rest]
    files[record] = "".join([*lines, f"{record},,\n"]).encode()
    with Sparse(path, "w") as file, zipfile.ZipFile(file, "w") as archive:
        info = member("demo/zeros")
        info.compress_type = zipfile.ZIP_STORED
        with archive.open(info, "w", force_zip64=True) as zeros:
            for _ in range(CHUNKS):
                zeros.write(ZEROS)
        for name, data in files.items():
            archive.writestr(member(name), data)
    return path


def take(path: Path, settings: Settings) -> Record:
    upload = Upload(path, {":action": "file_upload"}, NAME, path.stat().st_size)
    upload.digests = {"sha256_digest": "0" * 64, "blake2_256_digest": "0" * 64}
    check = partial(read_wheel, targets=settings.targets, passport=settings.passport)
    record, _, _ = examine(upload, check, at="", by="tests")
    return record


def test_a_wheel_beyond_4_gib_is_taken_in_bounded_memory(large: Path, settings: Settings) -> None:
    assert large.stat().st_size > 1 << 32
    assert large.stat().st_blocks * 512 < 1 << 20  # the test needs no disk
    tracemalloc.start()
    try:
        record = take(large, settings)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert record.size == large.stat().st_size
    assert peak < MEMORY


def patched(path: Path, place: int, data: bytes) -> bytes:
    """Write into the file; gives what stood there."""
    with path.open("r+b") as file:
        file.seek(place)
        before = file.read(len(data))
        file.seek(place)
        file.write(data)
    return before


END, LOCATOR, END64 = 22, 20, 56


@pytest.mark.parametrize(
    ("back", "change", "reason"),
    [
        (END + LOCATOR - 8, struct.pack("<Q", 1 << 32), "locator does not point at the ZIP64 end record"),
        (END + LOCATOR - 4, struct.pack("<I", 1), "is split over several volumes"),
        (END + 4, struct.pack("<I", 2), "is split over several volumes"),
        (END + LOCATOR, b"PK\0\0", "a ZIP64 locator that is not there"),
        (END + LOCATOR + END64, b"PK\0\0", "the ZIP64 end record is malformed"),
        (END + LOCATOR + 8, struct.pack("<Q", (1 << 32) + 7), "not where the end record says"),
        (END - 16, struct.pack("<I", 5), "disagree on the offset"),
    ],
)
def test_end_records_that_disagree_are_refused(
    large: Path, settings: Settings, back: int, change: bytes, reason: str
) -> None:
    place = large.stat().st_size - back
    before = patched(large, place, change)
    assert before != change
    try:
        with pytest.raises(BadUploadError, match=reason):
            take(large, settings)
    finally:
        patched(large, place, before)


def test_a_size_that_only_one_header_states(large: Path, settings: Settings) -> None:
    """The ZIP64 field of the local header: 30 bytes of header, the name, 4 bytes of field header, the size."""
    place = 30 + len("demo/zeros") + 4
    before = patched(large, place, struct.pack("<Q", CHUNKS * len(ZEROS) - 1))
    try:
        with pytest.raises(BadUploadError, match="local and central header differ in size"):
            take(large, settings)
    finally:
        patched(large, place, before)
