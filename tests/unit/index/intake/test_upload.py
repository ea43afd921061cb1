"""What installers let through and the index must not, with real bytes."""

from __future__ import annotations

import asyncio
import io
import struct
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from index_server.errors import BadUploadError, RequestError, TooLargeError
from index_server.intake import archive as zipcheck
from index_server.intake.upload import Check, Upload, examine, receive
from index_server.intake.wheel import read_wheel
from index_server.model import Record
from index_server.settings import Settings
from tests.helpers.archives import ARCHIVES, NAME, extra_field, swap, with_extra, with_zip64_end
from tests.helpers.wheels import (
    make_passport,
    make_wheel,
    member,
    pack,
    record_line,
    tuned_wheel,
    wheel_files,
)

INFO = "demo-1.0.dist-info"
Take = Callable[..., Record]


@pytest.fixture
def take(tmp_path: Path, settings: Settings) -> Take:
    """Takes bytes under a name, and gives the record."""

    def run(data: bytes, filename: str = NAME, /, **fields: str) -> Record:
        path = tmp_path / "upload"
        form = {":action": "file_upload", "protocol_version": "1", **fields}
        upload = asyncio.run(receive(body(form, filename, data), CONTENT_TYPE, lambda: path))
        record, metadata, _ = examine(upload, in_process(settings), at="now", by="tests")
        assert b"Metadata-Version" in metadata
        return record

    return run


def in_process(settings: Settings) -> Check:
    return partial(read_wheel, targets=settings.targets, passport=settings.passport)


BOUNDARY = "b0undary"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def form_bytes(fields: dict[str, str], filename: str, data: bytes) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="content"; filename="{filename}"\r\n\r\n'
    return b"".join([*parts, head.encode(), data, f"\r\n--{BOUNDARY}--\r\n".encode()])


async def body(fields: dict[str, str], filename: str, data: bytes) -> AsyncIterator[bytes]:
    whole = form_bytes(fields, filename, data)
    for at in range(0, len(whole), 1000):
        yield whole[at : at + 1000]


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def reasons(take: Take, data: bytes, filename: str = NAME, /, **fields: str) -> str:
    with pytest.raises(RequestError) as caught:
        take(data, filename, **fields)
    return "\n".join(caught.value.reasons)


def with_files(change: Callable[[dict[str, bytes]], object], name: str = NAME, **parts: Any) -> bytes:
    files = wheel_files(name, **parts)
    change(files)
    return pack(files)


# What is taken


def test_a_sound_wheel_is_taken(take: Take) -> None:
    data = make_wheel(NAME, metadata="Requires-Python: >=3.11\nSummary: a <b>demo</b>")
    record = take(data, name="demo", version="1.0")
    assert (record.project, record.version, record.size) == ("demo", "1.0", len(data))
    assert (record.requires_python, record.summary, record.tuned) == (">=3.11", "a <b>demo</b>", None)


def test_a_tuned_wheel_is_taken_with_its_passport(take: Take) -> None:
    name, data = tuned_wheel(backend="acl", default_backend=False)
    record = take(data, name)
    assert record.tuned is not None
    assert record.version == "1.0+neoverse.v1.acl"
    assert (record.tuned.version, record.tuned.target, record.tuned.backend) == ("1.0", "neoverse-v1", "acl")
    assert record.build_tag == "1_3fa9c2d1"


@pytest.mark.parametrize(
    "name",
    [
        "Demo.Thing-1.0.post1-2-py2.py3-none-any.whl",
        "demo-1!2.0rc1-cp311-abi3-manylinux_2_17_aarch64.manylinux2014_aarch64.whl",
        "demo_x-2024.1-py3-none-any.whl",
        "demo-1.0-18446744073709551615-py3-none-any.whl",
    ],
)
def test_odd_but_legal_names_are_taken(take: Take, name: str) -> None:
    assert take(make_wheel(name), name).filename == name


def test_folders_stored_members_and_signatures_are_taken(take: Take) -> None:
    files = wheel_files(NAME)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member("demo/", mode=0o040755), b"")
        for name, data in files.items():
            info = member(name)
            info.compress_type = zipfile.ZIP_STORED
            archive.writestr(info, data)
        archive.writestr(member(f"{INFO}/RECORD.jws"), b"{}")
    assert take(buffer.getvalue()).filename == NAME


def test_zip64_that_is_not_needed_is_taken(take: Take) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in wheel_files(NAME).items():
            with archive.open(member(name), "w", force_zip64=True) as file:
                file.write(data)
    assert take(with_zip64_end(buffer.getvalue())).filename == NAME


def test_sizes_that_a_local_header_states_twice_are_taken(take: Take) -> None:
    """As in protobuf 7.36.2, which pip and uv install."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in wheel_files(NAME).items():
            info = zipfile.ZipInfo(name)
            info.extra = extra_field(1, struct.pack("<2Q", len(data), len(data)))
            archive.writestr(info, data)
            info.extra = b""
    assert take(buffer.getvalue()).filename == NAME


def test_extra_fields_that_readers_agree_on_are_taken(take: Take) -> None:
    times = extra_field(0x5455, b"\1" + bytes(4))
    owner = extra_field(0x7875, b"\1\4" + bytes(4) + b"\4" + bytes(4))
    assert take(with_extra(times + owner)).filename == NAME


NUMBERED = [
    "version 1.{}",
    "version {}!1.0",
    "version 1.0.post{}",
    "requires-dist a>={}",
    "requires-python !={}",
]


def numbered(place: str, number: str) -> tuple[bytes, str]:
    """A wheel with a number in one field, and its file name."""
    field, text = place.format(number).split(" ")
    version, more = (text, "") if field == "version" else ("1.0", f"{field}: {text}")
    name = f"demo-{version}-py3-none-any.whl"
    return make_wheel(name, metadata=more), name


@pytest.mark.parametrize("place", NUMBERED)
def test_numbers_that_pip_and_uv_read_alike(take: Take, place: str) -> None:
    """uv skips a version beyond 64 bits, so that pip and uv would install different ones."""
    data, name = numbered(place, "9" * 18)
    assert take(data, name).filename == name
    assert "number of more than 18 digits" in reasons(take, *numbered(place, "9" * 19))


@pytest.mark.parametrize(
    "more",
    ["Requires-Dist: a @ https://x/" + "1" * 30, 'Requires-Dist: a; platform_release < "' + "1" * 30 + '"'],
)
def test_longer_numbers_that_are_no_versions_are_taken(take: Take, more: str) -> None:
    assert take(make_wheel(NAME, metadata=more)).filename == NAME


# The archive


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives_of_two_meanings_are_refused(take: Take, case: str) -> None:
    build, reason = ARCHIVES[case]
    assert reason in reasons(take, build())


def test_a_second_name_in_an_extra_field(take: Take) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in wheel_files(NAME).items():
            info = member(name)
            info.extra = struct.pack("<HHB", 0x7075, 1, 1)
            archive.writestr(info, data)
    assert "second name" in reasons(take, buffer.getvalue())


def test_archives_beyond_the_limits_are_refused(take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipcheck, "MAX_UNPACKED", 100)
    assert "more than the 100 allowed" in reasons(take, make_wheel(NAME))
    monkeypatch.setattr(zipcheck, "MAX_MEMBERS", 2)
    assert "more than 2 members" in reasons(take, make_wheel(NAME))


# What the wheel says of itself


def record(files: dict[str, bytes], old: bytes, new: bytes) -> None:
    files[f"{INFO}/RECORD"] = swap(files[f"{INFO}/RECORD"], old, new)


def change(files: dict[str, bytes], path: str, data: bytes) -> None:
    """Change a member and its line in RECORD."""
    lines = files[f"{INFO}/RECORD"].decode().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(f"{path},")]
    files[path] = data
    files[f"{INFO}/RECORD"] = (record_line(path, data) + "".join(kept)).encode()


CONTENTS: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "wrong hash": (lambda f: record(f, b"sha256=", b"sha256=AAAA"), "a hash that its bytes do not have"),
    "weak hash": (lambda f: record(f, b"sha256=", b"md5="), "no hash of sha256 or better"),
    "no hash": (lambda f: record(f, f["demo/__init__.py"] and b",sha256=", b",="), "no hash of sha256"),
    "wrong size": (lambda f: record(f, b",12\n", b",13\n"), "a size of '13'; it has 12 bytes"),
    "not listed": (lambda f: f.update({"demo/more.py": b""}), "'demo/more.py' is not in RECORD"),
    "listed and absent": (lambda f: f.pop("demo/__init__.py"), "which is not in the wheel"),
    "listed twice": (
        lambda f: f.update(
            {f"{INFO}/RECORD": f[f"{INFO}/RECORD"] + record_line("demo/__init__.py", b"").encode()}
        ),
        "lists 'demo/__init__.py' twice",
    ),
    "not three fields": (lambda f: record(f, b",12\n", b"\n"), "not a line of three fields"),
    "RECORD not text": (lambda f: f.update({f"{INFO}/RECORD": b"\xff\xfe"}), "RECORD cannot be read"),
    "no RECORD": (lambda f: f.pop(f"{INFO}/RECORD"), "RECORD is missing"),
    "no METADATA": (lambda f: f.pop(f"{INFO}/METADATA"), "METADATA is missing"),
    "no WHEEL": (lambda f: f.pop(f"{INFO}/WHEEL"), "WHEEL is missing"),
    "other tag": (
        lambda f: change(f, f"{INFO}/WHEEL", f[f"{INFO}/WHEEL"].replace(b"py3", b"cp311")),
        "its tags (cp311-none-any) are not those of the file name (py3-none-any)",
    ),
    "wheel 2": (
        lambda f: change(f, f"{INFO}/WHEEL", f[f"{INFO}/WHEEL"].replace(b"1.0", b"2.0")),
        "only 1.x is known",
    ),
    "no purelib": (
        lambda f: change(f, f"{INFO}/WHEEL", f[f"{INFO}/WHEEL"].replace(b"true", b"maybe")),
        "Root-Is-Purelib",
    ),
    "other build": (
        lambda f: change(f, f"{INFO}/WHEEL", f[f"{INFO}/WHEEL"] + b"Build: 7\n"),
        "Build is '7' and the file name says ''",
    ),
    "other name": (
        lambda f: change(f, f"{INFO}/METADATA", b"Metadata-Version: 2.1\nName: numpy\nVersion: 1.0\n"),
        "Name is 'numpy' and the file name says demo",
    ),
    "other version": (
        lambda f: change(f, f"{INFO}/METADATA", b"Metadata-Version: 2.1\nName: demo\nVersion: 2.0\n"),
        "Version is 2.0 and the file name says 1.0",
    ),
    "malformed METADATA": (
        lambda f: change(
            f,
            f"{INFO}/METADATA",
            b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Python: <script>\n",
        ),
        "METADATA: requires-python",
    ),
    "METADATA not text": (
        lambda f: change(f, f"{INFO}/METADATA", b"Metadata-Version: 2.1\nName: \xff\xfe\nVersion: 1.0\n"),
        "METADATA: ",
    ),
    "huge METADATA": (
        lambda f: change(f, f"{INFO}/METADATA", f[f"{INFO}/METADATA"] + b"x" * (4 << 20)),
        "more than the 4194304 allowed",
    ),
    "two dist-infos": (
        lambda f: change(f, "other-1.0.dist-info/METADATA", b""),
        "holds 2 .dist-info folders",
    ),
    "other data folder": (lambda f: change(f, "numpy-1.0.data/scripts/x", b""), "belongs to another project"),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_wheels_that_contradict_themselves_are_refused(take: Take, case: str) -> None:
    spoil, reason = CONTENTS[case]
    assert reason in reasons(take, with_files(spoil))


def test_a_wheel_without_dist_info_is_refused(take: Take) -> None:
    assert "holds 0 .dist-info folders" in reasons(take, pack({"demo.py": b""}))


def test_all_reasons_come_together(take: Take) -> None:
    def spoil(files: dict[str, bytes]) -> None:
        files["demo/more.py"] = b""
        change(files, f"{INFO}/METADATA", b"Metadata-Version: 2.1\nName: numpy\nVersion: 2.0\n")
        record(files, b",12\n", b",13\n")

    found = reasons(take, with_files(spoil), sha256_digest="0" * 64, name="numpy", version="7")
    for reason in (
        "sha256_digest",
        "form's name",
        "form's version",
        "not in RECORD",
        "size",
        "Name",
        "Version",
    ):
        assert reason in found
    assert len(found.splitlines()) == 7


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("demo-1.0.tar.gz", "only wheels are accepted"),
        ("demo-1.0.whl", "wrong number of parts"),
        ("demo-1.0-py3-none-any.whl.exe", "not a valid wheel file name"),
        ("../demo-1.0-py3-none-any.whl", "not a valid wheel file name"),
        ("demo-one-py3-none-any.whl", "version"),
        ("demo-1.0-x1-py3-none-any.whl", "build"),
        (".demo-1.0-py3-none-any.whl", "not a valid wheel file name"),
        ("d\u00e9mo-1.0-py3-none-any.whl", "not a valid wheel file name"),
        ("d" * 300 + "-1.0-py3-none-any.whl", "not a valid wheel file name"),
        ("demo-1.0-py3-none-any<script>.whl", "not a valid wheel file name"),
        ("", "not a valid wheel file name"),
    ],
)
def test_names_that_cannot_be_taken(take: Take, name: str, reason: str) -> None:
    assert reason in reasons(take, make_wheel(NAME), name).lower()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("demo-1.0-18446744073709551616-py3-none-any.whl", "build number in the file name is larger than"),
        ("demo-1.0-PY3-none-any.whl", "tags in the file name are not in lower case"),
        ("demo-1.0-py3-none-Any.whl", "tags in the file name are not in lower case"),
    ],
)
def test_names_that_uv_does_not_see(take: Take, name: str, reason: str) -> None:
    assert reason in reasons(take, make_wheel(name), name)


def test_a_wheel_under_the_name_of_another(take: Take) -> None:
    found = reasons(take, make_wheel(NAME), "demo-2.0-py3-none-any.whl")
    assert "belongs to another project or version" in found


# The passport


@pytest.mark.parametrize(
    ("facts", "old", "new", "reason"),
    [
        ({"version": "1.1"}, "1.1+", "1.0+", "the passport means 1.1+neoverse.v1"),
        ({}, "neoverse.v1", "neoverse.n1", "the passport means 1.0+neoverse.v1"),
        ({"backend": "acl", "default_backend": False}, ".acl", "", "the passport means 1.0+neoverse.v1.acl"),
        ({}, "cp311-cp311", "cp312-cp312", "says cp312-cp312, and the passport cp311"),
        ({"python": "cp313t"}, "cp313t-cp313t", "cp313-cp313", "and the passport cp313t"),
        ({}, "1_3fa9c2d1", "1_ffffffff", "the wheel digest asks for a number and '_3fa9c2d1'"),
        ({}, "-1_3fa9c2d1", "", "the build tag is ''"),
        ({"target": "itanium"}, "itanium", "itanium", "target itanium is not one of this index"),
        ({}, "aarch64", "x86_64", "is not aarch64"),
    ],
)
def test_passports_that_disagree_with_the_name(
    take: Take, facts: dict[str, Any], old: str, new: str, reason: str
) -> None:
    name, _ = tuned_wheel(**facts)
    name = name.replace(old, new)
    assert reason in reasons(take, make_wheel(name, passport=make_passport(**facts)), name)


def test_a_free_threaded_wheel_is_taken(take: Take) -> None:
    name, _ = tuned_wheel(python="cp313t")
    name = name.replace("cp313t-cp313t", "cp313-cp313t")
    assert take(make_wheel(name, passport=make_passport(python="cp313t")), name).abi_tag == "cp313t"


def test_a_licence_file_named_before_its_time(take: Take) -> None:
    """As mpmath 1.3.0 has it: Metadata-Version 2.1 with a field of 2.4."""
    old = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nLicense-File: LICENSE\n"
    assert take(with_files(lambda files: change(files, f"{INFO}/METADATA", old))).filename == NAME
    worse = old + b"Requires-Python: <script>\n"
    assert "requires-python" in reasons(take, with_files(lambda f: change(f, f"{INFO}/METADATA", worse)))


def test_a_recipe_that_is_not_called_as_what_it_makes(take: Take) -> None:
    name, _ = tuned_wheel()
    made = take(make_wheel(name, passport={**make_passport(), "recipe": "pydemo"}), name)
    assert made.tuned is not None
    assert made.tuned.recipe == "pydemo"


def test_every_fault_of_a_passport(take: Take) -> None:
    name, _ = tuned_wheel()
    passport = {**make_passport(), "schema": 2, "python": "python3", "colour": "green"}
    found = reasons(take, make_wheel(name, passport=passport), name)
    for reason in ("schema:", "python:", "'colour' was unexpected"):
        assert reason in found


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("version", "one", "not a version"),
        ("version", "1.0+cpu", "version has a local part"),
        ("build", "numpy-1.0-cp311-neoverse-v1-none", "is not the cell"),
        ("digests", {"compile": "4" * 64, "wheel": "3fa9c2d1" + "0" * 56 + "\n"}, "line break"),
        ("target", "neoverse-v1\n", "target"),
    ],
)
def test_passports_that_disagree_with_themselves(take: Take, key: str, value: object, reason: str) -> None:
    name, _ = tuned_wheel()
    assert reason in reasons(take, make_wheel(name, passport={**make_passport(), key: value}), name)


def test_a_passport_that_is_not_json(take: Take) -> None:
    assert "not JSON" in reasons(take, with_files(lambda f: change(f, f"{INFO}/armwheels.json", b"{")))


# The form


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({":action": "submit"}, ":action must be"),
        ({"protocol_version": "2"}, "protocol_version"),
        ({"filetype": "sdist"}, "only wheels"),
        ({"sha256_digest": "0" * 64}, "sha256_digest says"),
        ({"blake2_256_digest": "0" * 64}, "blake2_256_digest says"),
        ({"name": "numpy"}, "form's name"),
        ({"version": "one"}, "form's version"),
    ],
)
def test_forms_that_disagree_with_the_wheel_are_refused(
    take: Take, fields: dict[str, str], reason: str
) -> None:
    assert reason in reasons(take, make_wheel(NAME), **fields)


@pytest.mark.parametrize(
    "kind", ["application/json", "multipart/form-data", "", "multipart/form-data; boundary="]
)
def test_bodies_of_another_type_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BadUploadError, match="multipart/form-data"):
        asyncio.run(receive(chunks(b""), kind, lambda: tmp_path / "upload"))


@pytest.mark.parametrize("cut", [1, 3, 10, 500])
def test_bodies_cut_off_are_refused(tmp_path: Path, cut: int) -> None:
    whole = form_bytes({":action": "file_upload"}, NAME, make_wheel(NAME))
    with pytest.raises(BadUploadError, match=r"cut off|complete multipart"):
        asyncio.run(receive(chunks(whole[: -2 - cut]), CONTENT_TYPE, lambda: tmp_path / "upload"))


def test_more_than_one_file_is_refused(tmp_path: Path) -> None:
    one = form_bytes({}, NAME, b"x")
    two = one.removesuffix(b"--\r\n") + b"\r\n" + one.removeprefix(f"--{BOUNDARY}\r\n".encode())
    with pytest.raises(BadUploadError, match="more than one file"):
        asyncio.run(receive(chunks(two), CONTENT_TYPE, lambda: tmp_path / "upload"))


def test_a_form_without_a_file_is_refused(tmp_path: Path, settings: Settings) -> None:
    upload = Upload(tmp_path / "upload", {":action": "file_upload"})
    with pytest.raises(BadUploadError, match="no file named `content`"):
        examine(upload, in_process(settings), at="", by="")


def test_forms_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = form_bytes({"description": "x" * 1000}, NAME, b"y" * 1000)
    for limit, reason in (
        ("MAX_FORM", "fields are larger"),
        ("MAX_FILE", "file is larger"),
        ("MAX_PARTS", "parts"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"index_server.intake.upload.{limit}", 1)
            with pytest.raises(TooLargeError, match=reason):
                asyncio.run(receive(chunks(whole), CONTENT_TYPE, lambda: tmp_path / "upload"))


@hypothesis_settings(max_examples=150)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_one_byte_changed_is_refused_or_changes_nothing_that_is_read(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    name, sound = tuned_wheel()
    spoiled = bytearray(sound)
    spoiled[place % len(spoiled)] = value

    def read(data: bytes) -> tuple[Record, bytes]:
        path = tmp_path_factory.getbasetemp() / "spoiled.whl"
        path.write_bytes(data)
        upload = Upload(path, {":action": "file_upload"}, name, len(data))
        upload.digests = {"sha256_digest": "0" * 64, "blake2_256_digest": "0" * 64}
        return examine(upload, in_process(settings), at="", by="")

    with suppress(BadUploadError):  # and nothing else
        assert read(spoiled) == read(sound)
