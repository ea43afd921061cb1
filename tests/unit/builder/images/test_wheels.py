"""Which wheels an image gets, and where they are installed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from builder.errors import PublishError
from builder.images.wheels import best_file, install_wheel, parse_hashes
from tests.helpers.wheels import make_wheel

A, B, C = "a" * 64, "b" * 64, "c" * 64
TUNED = "demo-1.0+neoverse.v1-1_0a1b2c3d-cp313-cp313-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl"


def test_hashes_are_read_from_what_uv_prints() -> None:
    text = f"""\
demo==1.0+neoverse.v1 \\
    --hash=sha256:{A} \\
    --hash=sha256:{B}
My_Other==2.0 ; python_version >= "3.13" \\
    --hash=sha256:{C}
"""
    assert parse_hashes(text) == {"demo": frozenset({A, B}), "my-other": frozenset({C})}


def test_the_file_is_the_best_for_the_python_among_those_with_the_hashes() -> None:
    files = {
        TUNED: A,
        TUNED.replace("cp313", "cp311"): B,
        "demo-1.0-py3-none-any.whl": C,
        "demo-1.0.tar.gz": A,
        "other-1.0-py3-none-any.whl": A,
    }
    hashes = frozenset({A, B, C})
    assert best_file("Demo", hashes, files, "cp313", 41) == TUNED
    assert best_file("demo", hashes, files, "cp314", 41) == "demo-1.0-py3-none-any.whl"
    with pytest.raises(PublishError, match="no wheel of demo that installs on cp313"):
        best_file("demo", frozenset({B}), files, "cp313", 41)
    with pytest.raises(PublishError, match="no wheel"):
        best_file("demo", frozenset({A}), files, "cp313", 26)  # glibc 2.26 is older than the wheel's 2.27


def test_a_wheel_is_installed_where_debians_python_looks(tmp_path: Path) -> None:
    wheel = tmp_path / TUNED
    info = "demo-1.0+neoverse.v1.dist-info"
    files = {
        f"{info}/entry_points.txt": b"[console_scripts]\ndemo = demo:main\n",
        "demo-1.0+neoverse.v1.data/scripts/tool": b"#!python\nprint(1)\n",
    }
    wheel.write_bytes(make_wheel(TUNED, files=files))
    install_wheel(wheel, tmp_path / "root", "cp313")
    site = tmp_path / "root/usr/local/lib/python3.13/dist-packages"
    assert (site / "demo/__init__.py").read_text() == "answer = 42\n"
    assert (site / info / "INSTALLER").read_text() == "armwheels\n"
    for name in ("demo", "tool"):
        script = tmp_path / "root/usr/local/bin" / name
        assert script.read_text().startswith("#!/usr/bin/python3.13\n")
        assert script.stat().st_mode & 0o111
    with (site / info / "RECORD").open() as record:
        named = {row[0] for row in csv.reader(record)}
    assert {"demo/__init__.py", "../../../bin/demo", f"{info}/INSTALLER"} <= named
    assert str(tmp_path) not in (site / info / "RECORD").read_text()


def test_a_broken_wheel_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / TUNED
    wheel.write_bytes(make_wheel(TUNED)[:-30])
    with pytest.raises(PublishError, match="cannot be installed"):
        install_wheel(wheel, tmp_path / "root", "cp313")
