"""Small uploads that would cost minutes or gigabytes if a rule took more than linear time, each with its reason."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from index_server.intake.archive import CHUNK
from index_server.intake.wheel import WheelContents, read_wheel
from index_server.names import MAX_TAGS, parse_name
from index_server.reasons import MAX_REASON, MAX_REASONS
from index_server.settings import Settings
from tests.helpers.archives import NAME
from tests.helpers.wheels import make_wheel, pack, record_line, wheel_files

INFO = "demo-1.0.dist-info"
DIGITS = "9" * 5000
Read = Callable[..., WheelContents]


@pytest.fixture
def read(tmp_path: Path, settings: Settings) -> Read:
    def run(data: bytes, filename: str = NAME) -> WheelContents:
        path = tmp_path / "wheel"
        path.write_bytes(data)
        return read_wheel(path, parse_name(filename), settings.targets, settings.passport)

    return run


def with_member(path: str, data: bytes) -> bytes:
    """A wheel whose member holds ``data``, with a true line in RECORD."""
    files = wheel_files(NAME)
    lines = files[f"{INFO}/RECORD"].decode().splitlines(keepends=True)
    kept = "".join(line for line in lines if not line.startswith(f"{path},"))
    return pack({**files, path: data, f"{INFO}/RECORD": (record_line(path, data) + kept).encode()})


def metadata(more: str) -> bytes:
    text = f"Metadata-Version: 2.4\nName: demo\nVersion: 1.0\n{more}\n"
    return with_member(f"{INFO}/METADATA", text.encode())


def tagged(*tags: str) -> bytes:
    lines = "".join(f"Tag: {tag}\n" for tag in tags)
    return with_member(f"{INFO}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n{lines}".encode())


def dotted(letter: str, count: int) -> str:
    return ".".join(f"{letter}{number}" for number in range(count))


def record(content: bytes) -> bytes:
    return pack({**wheel_files(NAME), f"{INFO}/RECORD": content})


def directory_of(headers: bytes, stated: int) -> bytes:
    """An archive of nothing but a central directory, whose end record states a number of members."""
    return headers + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, stated, stated, len(headers), 0, 0)


def header(name: bytes, offset: int = 0, extra: bytes = b"") -> bytes:
    lengths = (len(name), len(extra), 0, 0, 0)
    sizes = (0, 0, 0xFFFFFFFF) if extra else (0, 0, 0)
    return (
        struct.pack("<4s6H3I5H2I", b"PK\1\2", 45, 45, 0, 0, 0, 33, *sizes, *lengths, 0, offset) + name + extra
    )


def with_long_extra() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("a")
        info.extra = struct.pack("<HH", 0x9999, 0) * 16_000
        archive.writestr(info, b"")
    return buffer.getvalue()


COSTLY: dict[str, tuple[Callable[[], bytes], str]] = {
    "tags multiplied": (lambda: tagged("-".join([dotted("a", 80)] * 3)), "exceeding limit 1000"),
    "many lines of many tags": (
        lambda: tagged(*(f"{dotted(f'a{n}x', 10)}-{dotted('b', 10)}-{dotted('c', 10)}" for n in range(1000))),
        "are not those of the file name",
    ),
    "a deep member": (lambda: make_wheel(NAME, files={"a/" * 32_000 + "x": b""}), "name has 64001 bytes"),
    "rows of RECORD": (lambda: record(b",,\n" * (8 << 20)), "RECORD: 25165824 bytes, more than the"),
    "a field of RECORD": (lambda: record(b'"' + b"a," * 3_000_000), "RECORD: 6000001 bytes, more than the"),
    "a member that is not there": (lambda: record(b"a" * 5000 + b",,\n"), "which is not in the wheel"),
    "unknown headers": (lambda: metadata("".join(f"X{n}: a\n" for n in range(15_000))), "15003 names"),
    "lines of headers": (lambda: metadata("Summary: a\n" + " b\n" * 900_000), "has 900003 lines of fields"),
    "digits of Requires-Python": (
        lambda: metadata(f"Requires-Python: >={DIGITS}"),
        "requires-python has 5002",
    ),
    "fewer digits": (lambda: metadata("Requires-Python: >=" + "9" * 900), "number of more than 18 digits"),
    "digits of a requirement": (lambda: metadata("Requires-Dist: a>=" + "9" * 900), "more than 18 digits"),
    "digits of a marker": (
        lambda: metadata(f'Requires-Dist: a; python_version > "{"9" * 900}"'),
        "number of more than 40 digits",
    ),
    "parentheses": (
        lambda: metadata("Requires-Dist: a; " + "(" * 1900 + 'os_name=="a"' + ")" * 1900),
        "more than 50 parentheses",
    ),
    "a licence": (lambda: metadata("License-Expression: " + "(" * 2001), "license-expression has 2001"),
    "a content type": (
        lambda: metadata("Description-Content-Type: text/plain" + ";a=b" * 500_000),
        "description-content-type has",
    ),
    "nested parts": (
        lambda: metadata(
            "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(3000))
        ),
        "unrecognized field: 'content-type'",
    ),
    "no METADATA in METADATA": (lambda: with_member(f"{INFO}/METADATA", b""), "'name' is a required field"),
    "a folder of digits": (
        lambda: make_wheel(NAME, files={f"demo-{'9' * 900}.data/x": b""}),
        "belongs to another project or version",
    ),
    "a deep passport": (
        lambda: with_member(f"{INFO}/armwheels.json", b'{"schema":' + b"[" * 1000 + b"]" * 1000 + b"}"),
        "nested deeper than 8",
    ),
    "a wide passport": (
        lambda: with_member(f"{INFO}/armwheels.json", b'{"flags":[' + b"1," * 300_000 + b"1]}"),
        "more than 20000 values",
    ),
    "a number of the passport": (
        lambda: with_member(f"{INFO}/armwheels.json", b'{"schema":' + b"9" * 5000 + b"}"),
        "passport",
    ),
    "a lying count": (
        lambda: directory_of(b"".join(header(b"%06d" % n) for n in range(100_000)), 3),
        "states 3 members and the central directory lists 100000",
    ),
    "headers of nothing": (
        lambda: directory_of(b"".join(header(b"%06d" % n, 7) for n in range(60_000)), 60_000),
        "no local header",
    ),
    "an offset of 64 bits": (
        lambda: directory_of(header(b"a", 0xFFFFFFFF, struct.pack("<2H2Q", 1, 16, 1, 1 << 63)), 1),
        "no local header",
    ),
    "extra fields": (with_long_extra, "64000 bytes of extra fields"),
}


@pytest.mark.parametrize("case", COSTLY)
def test_what_costs_more_than_its_size_warrants(read: Read, case: str) -> None:
    build, reason = COSTLY[case]
    lines = list(read(build()).faults)
    assert any(reason in line for line in lines), lines
    assert len(lines) <= MAX_REASONS
    assert max(map(len, lines)) <= MAX_REASON


def test_file_names_that_stand_for_too_many_tags() -> None:
    name = f"demo-1.0-{dotted('a', 10)}-{dotted('b', 10)}-{dotted('c', 11)}.whl"
    with pytest.raises(ValueError, match=f"1100 tags; {MAX_TAGS} are allowed"):
        parse_name(name)


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 21, 2 * CHUNK, 5 * CHUNK + 179, 20_000_001])
def test_long_runs_of_zeros_are_taken(read: Read, size: int) -> None:
    """zlib may have read all of a member's bytes and still hold some of what they unpack to."""
    wheel = read(make_wheel(NAME, files={"demo/zeros": bytes(size)}))
    assert list(wheel.faults) == []


@pytest.mark.parametrize("stray", [b"x", bytes(3 * CHUNK)])  # in the piece that holds the end, and in others
def test_bytes_behind_the_end_of_a_deflated_stream_are_refused(read: Read, stray: bytes) -> None:
    data = make_wheel(NAME)
    central = data.index(b"PK\1\2")
    packed = struct.unpack_from("<I", data, 18)[0]
    end = 30 + struct.unpack_from("<H", data, 26)[0] + packed
    longer = bytearray(data[:end] + stray + data[end:])

    def add(at: int) -> None:
        struct.pack_into("<I", longer, at, struct.unpack_from("<I", longer, at)[0] + len(stray))

    add(18)
    add(len(longer) - 6)
    at = central + len(stray)
    add(at + 20)
    while (at := longer.find(b"PK\1\2", at + 1)) >= 0:
        add(at + 42)
    (line,) = read(bytes(longer)).faults
    assert "followed by others" in line


def test_what_a_record_keeps_of_metadata_is_short(read: Read) -> None:
    facts = read(metadata("Summary: " + "a" * 4_000_000)).facts
    assert facts is not None
    assert facts.summary == "a" * 300


def test_a_thousand_headers_that_are_known_are_taken(read: Read) -> None:
    wheel = read(
        metadata("".join(f"Requires-Dist: project{n}>=1\nProvides-Extra: e{n}\n" for n in range(500)))
    )
    assert list(wheel.faults) == []
