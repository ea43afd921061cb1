"""Layers: the bytes depend on what the files hold alone, and nothing leaves the root."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
import zstandard

from builder.errors import PublishError
from builder.images.layers import USER, make_layer, unpack, write_archive
from builder.whole import sha256_of

if sys.version_info >= (3, 12):
    import tarfile
else:
    from backports import tarfile


def lay(root: Path, names: list[str], mode: int = 0o644) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {path.name}")
        path.chmod(mode)


def members(archive: Path) -> list[tarfile.TarInfo]:
    plain = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(archive.read_bytes())).read()
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        return tar.getmembers()


def test_order_times_and_modes_of_the_files_do_not_show(tmp_path: Path) -> None:
    names = ["usr/a", "usr/b/c", "tmp/x", "home/nonroot/x"]
    one, other = tmp_path / "one", tmp_path / "other"
    lay(one, names)
    lay(other, names[::-1], 0o600)
    os.utime(other / "usr/a", (1_700_000_000, 1_700_000_000))
    (one / "usr/link").symlink_to("a")
    (other / "usr/link").symlink_to("a")
    first = write_archive(one, tmp_path / "1.tar.zst")
    second = write_archive(other, tmp_path / "2.tar.zst")
    assert first == second
    assert sha256_of(tmp_path / "1.tar.zst") == sha256_of(tmp_path / "2.tar.zst")
    found = {member.name: member for member in members(tmp_path / "1.tar.zst")}
    assert list(found) == sorted(found, key=lambda name: name.split("/"))
    assert {member.mtime for member in found.values()} == {315532800}
    assert found["tmp"].mode == 0o1777
    assert (found["home/nonroot"].uid, found["home/nonroot/x"].uid, found["usr"].uid) == (USER, 0, 0)


@pytest.mark.parametrize("change", ["content", "name", "executable", "link"])
def test_what_the_files_hold_shows(change: str, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for root in (one, other):
        lay(root, ["usr/a"])
        (root / "usr/link").symlink_to("a")
    match change:
        case "content":
            (other / "usr/a").write_text("other")
        case "name":
            (other / "usr/a").rename(other / "usr/b")
        case "executable":
            (other / "usr/a").chmod(0o755)
        case _:
            (other / "usr/link").unlink()
            (other / "usr/link").symlink_to("b")
    assert write_archive(one, tmp_path / "1") != write_archive(other, tmp_path / "2")


def test_a_layer_is_made_once_and_unpacks_to_what_it_was(tmp_path: Path) -> None:
    def fill(root: Path) -> None:
        lay(root, ["usr/bin/python"], 0o755)

    layer = make_layer(tmp_path / "layer", fill, "about")
    assert make_layer(tmp_path / "layer", lambda _: pytest.fail("made again"), "about") == layer
    assert (layer.sha256, layer.size) == (sha256_of(layer.path), layer.path.stat().st_size)
    unpack(layer.path, tmp_path / "root")
    program = tmp_path / "root/usr/bin/python"
    assert program.read_text() == "content of python"
    assert os.access(program, os.X_OK)


def _hostile(name: str, kind: bytes, link: str = "") -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        tar.addfile(member)
    return zstandard.ZstdCompressor().compress(plain.getvalue())


@pytest.mark.parametrize(
    "data",
    [
        _hostile("../outside", tarfile.REGTYPE),
        _hostile("link", tarfile.SYMTYPE, "../../outside"),
        _hostile("usr/.wh.python", tarfile.REGTYPE),
        _hostile("device", tarfile.CHRTYPE),
        b"no archive",
    ],
)
def test_a_layer_that_leaves_its_root_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(data)
    with pytest.raises(PublishError, match="cannot be unpacked"):
        unpack(tmp_path / "layer", tmp_path / "root")
    assert not (tmp_path / "outside").exists()
