"""Layers of an image: archives of a folder whose bytes depend on the content of the files alone.

Order, owner, times and modes of the members are fixed (OCI image-spec 1.1, "Image Layer Filesystem Changeset").
The archives are compressed by the locked ``zstandard``, which has its own libzstd: gzip would depend on
the zlib of the machine. Tar archives are POSIX.1-2001 ("pax").
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import zstandard

from builder.errors import PublishError
from builder.model.base import Frozen, Sha256
from builder.whole import create_once, sha256_of, write_text

if sys.version_info >= (3, 12):
    import tarfile
else:
    # Debian 12's Python is 3.11.2, older than extraction filters (PEP 706).
    from backports import tarfile

LAYER_VERSION = 1
"""Raise this by hand when the same files give other bytes. It enters the key of every layer."""
MOMENT = 315_532_800
"""Time of every file, in seconds since 1970: 1980-01-01, before which ZIP archives of them are impossible."""
USER = 65532
"""The user as which an image runs, by number, since an engine cannot look up a name before it has the image."""

_LEVEL = 9
_USERS_FOLDER = "home/nonroot"
_SHARED_FOLDERS = frozenset({"tmp", "var/tmp"})
"""Folders in which every user may write (hier(7))."""


class Layer(Frozen):
    """A layer on disk: ``sha256`` of the compressed archive ``path``, ``diff_id`` of the archive itself."""

    path: Path
    sha256: Sha256
    diff_id: Sha256
    size: int
    about: str


class _Digests(Frozen):
    sha256: Sha256
    diff_id: Sha256


def make_layer(folder: Path, fill: Callable[[Path], object], about: str) -> Layer:
    """The layer kept in ``folder``, made once: ``fill`` is called with an empty root to put files into.

    ``about`` is one line for the image's history.
    """

    def make(made: Path) -> None:
        made.mkdir()
        root = made.with_name("root")
        root.mkdir()
        fill(root)
        diff_id = write_archive(root, made / "layer.tar.zst")
        digests = _Digests(sha256=sha256_of(made / "layer.tar.zst"), diff_id=diff_id)
        write_text(made / "digests.json", digests.model_dump_json())

    create_once(folder, make)
    path = folder / "layer.tar.zst"
    digests = _Digests.model_validate_json((folder / "digests.json").read_text(encoding="utf-8"))
    return Layer(path=path, about=about, size=path.stat().st_size, **digests.model_dump())


def write_archive(root: Path, archive: Path) -> str:
    """Write all that ``root`` holds to a compressed archive; returns its sha256 before compression."""
    with archive.open("wb") as file, zstandard.ZstdCompressor(level=_LEVEL).stream_writer(file) as packed:
        hashed = _Hashed(packed)
        with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(root.rglob("*"), key=lambda path: path.relative_to(root).parts):
                member = _member(path, path.relative_to(root).as_posix())
                if member.isreg():
                    with path.open("rb") as content:
                        tar.addfile(member, content)
                else:
                    tar.addfile(member)
    return hashed.sha256.hexdigest()


def unpack(archive: Path, root: Path) -> None:
    """Unpack a layer over what ``root`` holds.

    Raises:
        PublishError: it holds device files, names outside the root, or whiteouts, which no layer of ours has.
    """
    try:
        with (
            archive.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            tar.extractall(root, filter=_checked)  # noqa: S202  # the filter is PEP 706's and stricter
    except (tarfile.TarError, zstandard.ZstdError) as error:
        raise PublishError(f"layer {archive.name} cannot be unpacked: {error}") from error


def _checked(member: tarfile.TarInfo, root: str) -> tarfile.TarInfo | None:
    if Path(member.name).name.startswith(".wh."):
        raise tarfile.TarError(f"{member.name} removes a file of another layer")
    return tarfile.data_filter(member, root)


class _Hashed:
    """A file to write to, which computes the sha256 of all that passes."""

    def __init__(self, target: IO[bytes] | zstandard.ZstdCompressionWriter) -> None:
        self._target = target
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self._target.write(data)
        return len(data)


def _member(path: Path, name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mtime = MOMENT
    member.uid = member.gid = USER if name == _USERS_FOLDER else 0
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, os.readlink(path), 0o777  # noqa: PTH115 - a string
    elif stat.S_ISDIR(found.st_mode):
        member.type, member.mode = tarfile.DIRTYPE, 0o1777 if name in _SHARED_FOLDERS else 0o755
    else:
        member.size, member.mode = found.st_size, 0o755 if found.st_mode & 0o111 else 0o644
    return member
