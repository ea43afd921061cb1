"""What repair writes into a wheel, on small trees; the whole of it runs in the end-to-end tests."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest

from builder.errors import RepairError
from builder.model.build import Build
from builder.repair.grafts import _original_name
from builder.repair.marks import _rename_info, _scrub
from builder.repair.passport import make_passport
from builder.settings import configs_dir


def _tree(root: Path) -> Path:
    info = root / "demo-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: demo\nVersion: 1.0\n\nVersion: 9 in the text\n"
    )
    (info / "WHEEL").write_text(
        "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-cp311-linux_aarch64\n"
    )
    return root


def test_the_local_version_and_the_build_tag_stand_in_dist_info(build: Build, tmp_path: Path) -> None:
    info = _rename_info(build, _tree(tmp_path))
    assert info.name == "demo-1.0+neoverse.v1.dist-info"
    metadata = (info / "METADATA").read_text()
    assert "\nVersion: 1.0+neoverse.v1\n" in metadata
    assert "Version: 9 in the text" in metadata
    assert f"Root-Is-Purelib: false\nBuild: {build.build_tag}\nTag:" in (info / "WHEEL").read_text()


def test_metadata_without_a_version_is_refused(build: Build, tmp_path: Path) -> None:
    root = _tree(tmp_path)
    (root / "demo-1.0.dist-info/METADATA").write_text("Name: demo\n\n")
    with pytest.raises(RepairError, match="no single Version"):
        _rename_info(build, root)


def test_build_folders_leave_text_and_are_refused_in_binaries(tmp_path: Path) -> None:
    text = tmp_path / "config.py"
    text.write_text("path = '/build/here/include'\n")
    _scrub(tmp_path, ["/build/here"])
    assert text.read_text() == "path = '/armwheels/include'\n"
    (tmp_path / "m.so").write_bytes(b"\x7fELF\0/build/here/a.c\0")
    with pytest.raises(RepairError, match=r"m\.so"):
        _scrub(tmp_path, ["/build/here"])


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
    assert _original_name(grafted, candidates) == original


def test_the_passport_is_valid(build: Build) -> None:
    pinned = SimpleNamespace(name="ziglang", version="0.17.1", sha256="c" * 64)
    toolbox = SimpleNamespace(pins=SimpleNamespace(files=lambda part: (pinned,)))
    passport = make_passport(build, ("-mcpu=neoverse_v1",), toolbox)
    schema = json.loads((configs_dir() / "passport.schema.json").read_text())
    jsonschema.validate(passport, schema, cls=jsonschema.Draft202012Validator)
    assert passport["digests"]["wheel"] == build.wheel_digest
