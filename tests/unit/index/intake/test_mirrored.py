"""Wheels that others published: held to what installers need, not to all that an upload must be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from index_server.intake.wheel import WheelContents, read_wheel
from index_server.names import parse_name
from index_server.settings import Settings
from tests.helpers.archives import NAME, swap
from tests.helpers.wheels import make_passport, make_wheel, pack, record_line, tuned_wheel, wheel_files

INFO = "demo-1.0.dist-info"
Read = Callable[..., WheelContents]


@pytest.fixture
def read(tmp_path: Path, settings: Settings) -> Read:
    def run(data: bytes, filename: str = NAME, *, mirrored: bool = True) -> WheelContents:
        path = tmp_path / "wheel"
        path.write_bytes(data)
        return read_wheel(path, parse_name(filename), settings.targets, settings.passport, mirrored=mirrored)

    return run


def with_member(path: str, data: bytes, filename: str = NAME) -> bytes:
    files = wheel_files(filename)
    lines = files[f"{INFO}/RECORD"].decode().splitlines(keepends=True)
    kept = "".join(line for line in lines if not line.startswith(f"{path},"))
    return pack({**files, path: data, f"{INFO}/RECORD": (record_line(path, data) + kept).encode()})


def metadata(version: str, more: str = "") -> bytes:
    text = f"Metadata-Version: {version}\nName: demo\nVersion: 1.0\n{more}"
    return with_member(f"{INFO}/METADATA", text.encode())


def with_tags(filename: str, *tags: str) -> bytes:
    lines = "".join(f"Tag: {tag}\n" for tag in tags)
    text = f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\n{lines}"
    return with_member(f"{INFO}/WHEEL", text.encode(), filename)


PLATFORM = "demo-1.0-cp311-cp311-manylinux2014_aarch64.whl"
PUBLISHED: dict[str, tuple[Callable[[], bytes], str]] = {
    "iniconfig 2.0.0": (lambda: metadata("2.3", "License-Expression: MIT\n"), NAME),
    "ply 3.11": (lambda: metadata("2.0"), NAME),
    "mysql-connector-python": (lambda: with_tags(PLATFORM, "cp311-cp311-linux_aarch64"), PLATFORM),
    "playwright": (lambda: with_tags(PLATFORM, "py3-none-any"), PLATFORM),
    "gmsh": (
        lambda: pack(
            {
                **wheel_files(NAME),
                f"{INFO}/RECORD": swap(wheel_files(NAME)[f"{INFO}/RECORD"], b"sha256=", b"sha256=x"),
            }
        ),
        NAME,
    ),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_what_pip_and_uv_install_is_mirrored_and_not_uploaded(read: Read, case: str) -> None:
    build, filename = PUBLISHED[case]
    wheel = read(build(), filename)
    assert list(wheel.faults) == []
    assert wheel.facts is not None
    assert wheel.facts.name == "demo"
    assert read(build(), filename, mirrored=False).faults


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: metadata("2.1", "Requires-Python: <script>\n"), "METADATA: requires-python"),
        (lambda: metadata("2.1", "Requires-Python: >=" + "9" * 100 + "\n"), "more than 18 digits"),
        (
            lambda: with_member(f"{INFO}/METADATA", b"Metadata-Version: 2.1\nName: demo\n"),
            "METADATA: version",
        ),
        (
            lambda: with_member(f"{INFO}/METADATA", b"Metadata-Version: 2.1\nName: demo\nVersion: 2.0\n"),
            "Version is 2.0 and the file name says 1.0",
        ),
        (lambda: with_member(f"{INFO}/METADATA", b"Name: other\nVersion: 1.0\n"), "Name is 'other'"),
        (lambda: with_member(f"{INFO}/WHEEL", b"Wheel-Version: 2.0\n"), "only 1.x is known"),
        (lambda: make_wheel(NAME) + b"x", "trailing data"),
        (lambda: pack({**wheel_files(NAME), f"{INFO}/RECORD": b"\xff"}), "RECORD cannot be read"),
        (
            lambda: pack({k: v for k, v in wheel_files(NAME).items() if "RECORD" not in k}),
            "RECORD is missing",
        ),
    ],
)
def test_what_installers_cannot_use_is_not_mirrored(
    read: Read, build: Callable[[], bytes], reason: str
) -> None:
    assert any(reason in line for line in read(build()).faults)


def test_a_mirrored_file_that_does_not_unpack_is_named(read: Read) -> None:
    data = bytearray(make_wheel(NAME, files={"demo/data.bin": bytes(range(256)) * 8}))
    start = data.index(b"demo/data.bin") + len(b"demo/data.bin")
    data[start + 5] ^= 0xFF
    (line,) = read(bytes(data)).faults
    assert line.startswith("demo/data.bin: ")


def test_an_upload_may_name_more_tags_in_wheel_unless_it_is_tuned(read: Read) -> None:
    """As torch 2.2.2 for aarch64 does; installers go by the file name."""
    more = ("cp311-cp311-manylinux_2_17_aarch64", "cp311-cp311-manylinux2014_aarch64")
    assert list(read(with_tags(PLATFORM, *more), PLATFORM, mirrored=False).faults) == []
    name, _ = tuned_wheel()
    files = wheel_files(name, passport=make_passport())
    wheel_file = next(path for path in files if path.endswith("/WHEEL"))
    record = wheel_file.replace("/WHEEL", "/RECORD")
    changed = files[wheel_file] + b"Tag: py3-none-any\n"
    kept = [
        line for line in files[record].decode().splitlines(keepends=True) if not line.startswith(wheel_file)
    ]
    files |= {wheel_file: changed, record: (record_line(wheel_file, changed) + "".join(kept)).encode()}
    assert any(
        "are not those of the file name" in line for line in read(pack(files), name, mirrored=False).faults
    )
