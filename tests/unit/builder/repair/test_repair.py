"""What repair writes into a small wheel; grafting by auditwheel runs in the end-to-end tests."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest

from builder.errors import RepairError
from builder.model.build import Build
from builder.repair.grafts import original_name
from builder.repair.marks import mark
from builder.repair.passport import make_passport
from builder.repair.repair import platform_tags
from builder.settings import configs_dir
from tests.helpers.wheels import make_wheel, pack, wheel_files

RAW = "demo-1.0-cp311-cp311-linux_aarch64.whl"
INFO = "demo-1.0+neoverse.v1.dist-info"


@pytest.fixture
def toolbox(tmp_path: Path) -> SimpleNamespace:
    pinned = SimpleNamespace(name="ziglang", version="0.17.1", sha256="c" * 64)
    return SimpleNamespace(home=tmp_path / "home", pins=SimpleNamespace(files=lambda part: (pinned,)))


@pytest.fixture
def mark_wheel(build: Build, toolbox: SimpleNamespace, tmp_path: Path) -> Callable[[bytes], Path]:
    """Mark a wheel of these bytes; gives what became of it."""

    def mark_bytes(data: bytes) -> Path:
        raw, finished = tmp_path / RAW, tmp_path / "finished"
        raw.write_bytes(data)
        finished.mkdir()
        mark(build, raw, ["manylinux_2_28_aarch64"], toolbox, tmp_path / "work", finished)
        [wheel] = finished.iterdir()
        return wheel

    return mark_bytes


def test_a_wheel_is_named_by_its_target_its_digest_and_its_platform(
    build: Build, mark_wheel: Callable[[bytes], Path]
) -> None:
    name = mark_wheel(make_wheel(RAW)).name
    assert name == f"demo-1.0+neoverse.v1-{build.build_tag}-cp311-cp311-manylinux_2_28_aarch64.whl"


def test_metadata_says_what_the_name_says(build: Build, mark_wheel: Callable[[bytes], Path]) -> None:
    data = {"demo-1.0.data/data/share/demo": b"x"}
    wheel = make_wheel(RAW, metadata="\nVersion: 9 in the description\n", files=data)
    with zipfile.ZipFile(mark_wheel(wheel)) as archive:
        metadata = message_from_bytes(archive.read(f"{INFO}/METADATA"))
        tags = message_from_bytes(archive.read(f"{INFO}/WHEEL"))
        names = archive.namelist()
    assert metadata.get_all("Version") == ["1.0+neoverse.v1"]
    assert "Version: 9 in the description" in metadata.get_payload()
    assert tags.keys() == ["Wheel-Version", "Generator", "Root-Is-Purelib", "Build", "Tag"]
    assert tags["Build"] == build.build_tag
    assert tags.get_all("Tag") == ["cp311-cp311-manylinux_2_28_aarch64"]
    assert {name.split("/")[0] for name in names} == {"demo", INFO, "demo-1.0+neoverse.v1.data"}


def test_metadata_without_a_version_is_refused(mark_wheel: Callable[[bytes], Path]) -> None:
    files = wheel_files(RAW)
    files["demo-1.0.dist-info/METADATA"] = b"Metadata-Version: 2.1\nName: demo\n\n"
    with pytest.raises(RepairError, match="no single Version"):
        mark_wheel(pack(files))


def test_the_passport_and_the_sbom_are_in_the_wheel(
    build: Build, mark_wheel: Callable[[bytes], Path]
) -> None:
    with zipfile.ZipFile(mark_wheel(make_wheel(RAW))) as archive:
        passport = json.loads(archive.read(f"{INFO}/armwheels.json"))
        sbom = json.loads(archive.read(f"{INFO}/sboms/armwheels.cdx.json"))
    assert passport["digests"] == {"compile": build.compile_digest, "wheel": build.wheel_digest}
    assert sbom["metadata"]["component"]["version"] == "1.0+neoverse.v1"


def test_build_folders_are_replaced_in_text_files(
    mark_wheel: Callable[[bytes], Path], tmp_path: Path
) -> None:
    text = f"path = '{tmp_path / 'work/include'}'\nlink = '{tmp_path / 'home/toolbox'}'\n"
    with zipfile.ZipFile(mark_wheel(make_wheel(RAW, files={"demo/config.py": text.encode()}))) as archive:
        kept = archive.read("demo/config.py").decode()
    assert kept == "path = '/armwheels/include'\nlink = '/armwheels/toolbox'\n"


def test_build_folders_in_binary_files_are_refused(
    mark_wheel: Callable[[bytes], Path], tmp_path: Path
) -> None:
    table = f"\0{tmp_path / 'work/a.c'}\0".encode()
    with pytest.raises(RepairError, match=r"compiled into demo/table\.bin$"):
        mark_wheel(make_wheel(RAW, files={"demo/table.bin": table}))


def test_the_same_wheel_gives_the_same_bytes_whatever_the_umask(
    build: Build, toolbox: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    made = []
    for umask in (0o022, 0o077):
        place = tmp_path / str(umask)
        (place / "finished").mkdir(parents=True)
        (place / RAW).write_bytes(make_wheel(RAW))
        before = os.umask(umask)
        try:
            mark(build, place / RAW, ["manylinux_2_28_aarch64"], toolbox, place / "work", place / "finished")
        finally:
            os.umask(before)
        [wheel] = (place / "finished").iterdir()
        made.append(wheel.read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("grafted", "original"),
    [
        ("libgomp-1a2b3c4d.so.1", "libgomp.so.1"),
        ("libgfortran-daac5196.so.5.0.0", "libgfortran-daac5196.so.5.0.0"),
        ("libscipy_openblas64_-0123abcd.so", "libscipy_openblas64_.so"),
        ("libother-1a2b3c4d.so.1", None),
    ],
)
def test_a_graft_is_traced_to_its_original(grafted: str, original: str | None) -> None:
    candidates = ["libgomp.so.1", "libgfortran-daac5196.so.5.0.0", "libscipy_openblas64_.so"]
    assert original_name(grafted, candidates) == original


def test_the_passport_is_valid(build: Build, toolbox: SimpleNamespace) -> None:
    passport = make_passport(build, ("-mcpu=neoverse_v1",), toolbox)
    schema = json.loads((configs_dir() / "passport.schema.json").read_text())
    jsonschema.validate(passport, schema, cls=jsonschema.Draft202012Validator)
    assert passport["digests"]["wheel"] == build.wheel_digest


@pytest.mark.parametrize(
    ("proven", "aliases", "tags"),
    [
        ("manylinux_2_17_aarch64", ["manylinux2014_aarch64"], ["2_17", "2014", "2_28", "2_34"]),
        ("manylinux_2_27_aarch64", [], ["2_27", "2_28", "2_34"]),
        ("manylinux_2_28_aarch64", [], ["2_28", "2_34"]),
        ("manylinux_2_31_aarch64", [], ["2_31", "2_34"]),
        ("manylinux_2_35_aarch64", [], ["2_35"]),
    ],
)
def test_a_wheel_bears_the_tags_that_tools_ask_for_by_name(
    proven: str, aliases: list[str], tags: list[str]
) -> None:
    spelled = [f"manylinux{'' if tag == '2014' else '_'}{tag}_aarch64" for tag in tags]
    assert platform_tags(proven, aliases) == spelled
