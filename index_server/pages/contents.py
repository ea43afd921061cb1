"""What a wheel holds beside its code: its passport, its SBOMs (PEP 770) and its licences (PEP 639).

The archive was checked when it was uploaded (:mod:`index_server.intake.archive`), so a plain reader suffices. Only
its directory and a few small members are read, also of a wheel in a bucket.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from html import escape
from typing import Any

import orjson

LARGEST = 4 << 20  # bytes of a member that is read
SHOWN = 100  # rows of a table
AHEAD = 1 << 18  # bytes that are read at once
Read = Callable[[int, int], Iterable[bytes]]


@dataclass(frozen=True)
class Component:
    """A library that was copied into a wheel, as an SBOM names it (CycloneDX)."""

    name: str
    version: str
    licence: str


@dataclass(frozen=True)
class Contents:
    """What a wheel says of itself. Whether it is true, the audit and the builder's statements say."""

    passport: Mapping[str, Any] | None = None
    sboms: tuple[str, ...] = ()
    components: tuple[Component, ...] = ()
    licence: str = ""
    """The SPDX expression of ``METADATA``, else its older field."""

    licences: tuple[str, ...] = ()


def read_contents(size: int, read: Read) -> Contents:
    """Read a wheel of ``size`` bytes. ``read`` yields the bytes from an offset up to another.

    Raises:
        OSError, StoreError: the wheel cannot be read.
        zipfile.BadZipFile: it is not the archive that was checked.
    """
    with zipfile.ZipFile(io.BufferedReader(_Ranges(size, read), AHEAD)) as archive:
        members = {info.filename: info for info in archive.infolist() if ".dist-info/" in info.filename}

        def small(name: str) -> bytes:
            return archive.read(name) if members[name].file_size <= LARGEST else b""

        def find(end: str) -> bytes:
            name = next((each for each in members if _below(each) == end), None)
            return small(name) if name else b""

        metadata = BytesHeaderParser().parsebytes(find("METADATA"))
        sboms = sorted(
            name for name in members if _below(name).startswith("sboms/") and not name.endswith("/")
        )
        stated = metadata.get_all("License-File", [])
        known = [name for name in stated if any(_below(each).endswith(name) for each in members)]
        passport = _json(find("armwheels.json"))
        return Contents(
            passport=passport if isinstance(passport, dict) else None,
            sboms=tuple(sboms),
            components=tuple(one for name in sboms for one in _components(_json(small(name)))),
            licence=str(metadata.get("License-Expression") or metadata.get("License") or ""),
            licences=tuple(known),
        )


def sections(contents: Contents) -> Iterator[str]:
    """The sections of a wheel's page, as HTML."""
    if contents.passport is not None:
        yield "<h2>Passport</h2>"
        yield from _rows(_passport(contents.passport))
        yield from _pins("Toolchain", contents.passport.get("toolchain"))
        yield (
            "<p class=dim>In the wheel: <code>*.dist-info/armwheels.json</code>. The builder states it; "
            "<code>armwheels-verify</code> tells whether a key that you trust has signed it.</p>"
        )
    yield "<h2>Copied in (SBOM)</h2>"
    if contents.components:
        yield "<div class=wide tabindex=0><table><tr><th>library</th><th>version</th><th>licence</th></tr>"
        for one in contents.components[:SHOWN]:
            cells = (one.name, one.version, one.licence)
            yield f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        yield "</table></div>"
        if len(contents.components) > SHOWN:
            yield f"<p>{len(contents.components) - SHOWN} more are in the file.</p>"
    elif contents.sboms:
        yield "<p>The SBOM names no library that was copied in.</p>"
    else:
        yield "<p>The wheel has no SBOM.</p>"
    yield from _names("In the wheel", contents.sboms)
    yield "<h2>Licences</h2>"
    yield f"<p>{escape(contents.licence) or 'The wheel states none.'}</p>"
    yield from _names(f"{len(contents.licences)} licence files", contents.licences)


class _Ranges(io.RawIOBase):
    """A file whose parts are read from a store."""

    def __init__(self, size: int, read: Read) -> None:
        self._size = size
        self._read = read
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        data = b"".join(self._read(self._at, stop))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _below(name: str) -> str:
    """The name of a member below the ``.dist-info`` folder; the empty string elsewhere."""
    top, _, rest = name.partition("/")
    return rest if top.endswith(".dist-info") else ""


def _json(data: bytes) -> object:
    with suppress(orjson.JSONDecodeError):
        return orjson.loads(data)
    return None


def _components(sbom: object) -> Iterator[Component]:
    """The components of a CycloneDX document, each name and version once. What has another form is left out."""
    listed = sbom.get("components") if isinstance(sbom, dict) else None
    seen = set()
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and isinstance(each.get("name"), str):
            one = Component(each["name"], _text(each.get("version")), _licence(each.get("licenses")))
            if one not in seen:
                seen.add(one)
                yield one


def _licence(stated: object) -> str:
    found = []
    for each in stated if isinstance(stated, list) else ():
        if isinstance(each, dict):
            inner = each.get("license")
            named = inner if isinstance(inner, dict) else {}
            found.append(_text(each.get("expression") or named.get("id") or named.get("name")))
    return " AND ".join(filter(None, found))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _passport(passport: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The rows of a passport, whose form the index has checked."""
    source, compiler = passport.get("source", {}), passport.get("compiler", {})
    yield "build", str(passport.get("build", ""))
    yield (
        "source",
        f"{source.get('origin', '')} ({source.get('kind', '')}), sha256 {source.get('sha256', '')}",
    )
    yield "compiler", f"{compiler.get('name', '')} {compiler.get('version', '')}"
    yield "flags of the target", " ".join(passport.get("flags", ()))
    yield "machine flags of its units", ", ".join(passport.get("flags_observed", ()))
    yield "oldest glibc", str(passport.get("glibc_floor", ""))
    for one in passport.get("dependencies", ()):
        made = "compiled by others" if one.get("prebuilt") else "compiled here"
        yield "linked library", f"{one.get('name')} {one.get('version')}, {made}, sha256 {one.get('sha256')}"
    if extends := passport.get("extends"):
        yield "extends", f"{extends.get('name')} {extends.get('version')}, sha256 {extends.get('sha256')}"
    yield "digest of all inputs", str(passport.get("digests", {}).get("wheel", ""))


def _rows(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield "<table>"
    yield from (f"<tr><th scope=row>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    yield "</table>"


def _pins(title: str, pins: object) -> Iterator[str]:
    listed = [each for each in pins if isinstance(each, dict)] if isinstance(pins, list) else []
    lines = [f"{each.get('name')} {each.get('version')}" for each in listed]
    yield from _names(f"{title}: {len(lines)} pinned files", lines)


def _names(title: str, names: Iterable[str]) -> Iterator[str]:
    items = [f"<li>{escape(name)}</li>" for name in names]
    if items:
        yield f"<details><summary>{escape(title)}</summary><ul class=plain>{''.join(items)}</ul></details>"
