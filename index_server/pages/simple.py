"""Simple-repository pages from records. Pure: the same records always give the same bytes.

HTML by PEP 503 and 629 (frozen at API 1.4 by PEP 833), JSON by PEP 691 and 700, metadata by PEP 658 and 714, in
HTML under both names, project status by PEP 792. Everything that API 1.4 requires is included. Each page is kept
in every form that clients request, each with its own strong ETag.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

import orjson
import zstandard
from packaging.version import Version

from index_server.model import Record, sha256_hex
from index_server.pages.negotiation import JSON
from index_server.rules.marks import NONE, ProjectMarks

API_VERSION = "1.4"
ZSTD_LEVEL = 12  # 19 takes half a second for a page of 2,000 files and saves 3 %


@dataclass(frozen=True)
class Form:
    """One page in one encoding."""

    encoding: str
    etag: str
    body: bytes


@dataclass(frozen=True)
class Page:
    """One page as JSON and as HTML, each in every encoding that makes it smaller."""

    json: tuple[Form, ...]
    html: tuple[Form, ...]

    @property
    def weight(self) -> int:
        """The approximate size in memory, in bytes."""
        return 1024 + sum(len(form.body) for form in (*self.json, *self.html))

    def form(self, media: str, encoding: str) -> Form:
        """The form for a negotiated type and encoding; identity if that encoding does not make the page smaller."""
        forms = self.json if media == JSON else self.html
        return next((form for form in forms if form.encoding == encoding), forms[0])


@dataclass(frozen=True)
class Beside:
    """A file that a page lists and that is no distribution: the JSON of a version's variants (PEP 825)."""

    filename: str
    url: str
    sha256: str
    size: int  # bytes
    uploaded_at: str


def project_page(
    project: str,
    records: Sequence[Record],
    marks: ProjectMarks = NONE,
    untils: Mapping[str, str] | None = None,
    listed: Mapping[str, str] | None = None,
    root: str = "/",
    base: str | None = None,
    beside: Sequence[Beside] = (),
) -> Page:
    """The page of one project (PEP 503: ``/simple/<project>/``), with its yanks and its status.

    ``untils`` gives, by file name, the day until which a file is kept, or ``forever``. ``listed`` gives the day
    until which the channel lists a development version at least. Both are stated in JSON under keys of our own,
    which PEP 691 leaves to those that begin with an underscore. ``root`` is the reference from the page to the
    root of the index. ``base`` is the address of the index where that is a secure origin: links to provenance
    objects must be whole URLs of one (PEP 740). ``beside`` are files that describe others.
    """
    status = "quarantined" if marks.project is not None else "active"
    why = {"reason": marks.project} if marks.project is not None else {}
    versions = sorted({Version(record.version) for record in records})
    data = {
        "meta": {"api-version": API_VERSION},
        "name": project,
        "project-status": {"status": status, **why},
        "versions": [str(version) for version in versions],
        "files": [
            {
                **_file(record, root, marks.yank_reason(record.filename), provenance_url(record, base)),
                **_days(record.filename, untils or {}, listed or {}),
            }
            for record in records
        ]
        + [_described(one) for one in beside],
    }
    anchors = [
        _anchor(record, root, marks.yank_reason(record.filename), provenance_url(record, base))
        for record in records
    ]
    anchors += [
        f'<a href="{escape(one.url)}#sha256={one.sha256}">{escape(one.filename)}</a>' for one in beside
    ]
    meta = {"project-status": status, **{f"project-status-{key}": value for key, value in why.items()}}
    return Page(_forms(orjson.dumps(data)), _forms(_html(f"Links for {project}", anchors, meta)))


def root_page(projects: Iterable[str]) -> Page:
    """The list of projects (PEP 503: ``/simple/``)."""
    names = sorted(projects)
    data = {"meta": {"api-version": API_VERSION}, "projects": [{"name": name} for name in names]}
    anchors = [f'<a href="{quote(name)}/">{escape(name)}</a>' for name in names]
    return Page(_forms(orjson.dumps(data)), _forms(_html("Simple index", anchors)))


def file_url(record: Record, root: str) -> str:
    """The relative reference to a file, which stays valid behind proxies and on mirrors."""
    return f"{root}files/{record.sha256}/{quote(record.filename)}"


def provenance_url(record: Record, base: str | None) -> str | None:
    """The URL of a file's provenance object (PEP 740), below the path that PyPI has for it."""
    if record.provenance_sha256 is None or base is None:
        return None
    return f"{base}/integrity/{record.project}/{quote(record.version)}/{quote(record.filename)}/provenance"


def _days(filename: str, untils: Mapping[str, str], listed: Mapping[str, str]) -> dict[str, str]:
    """Our own keys of a file."""
    days = {"_retain-until": untils.get(filename), "_listed-until": listed.get(filename)}
    return {key: day for key, day in days.items() if day is not None}


def _file(record: Record, root: str, yanked: str | None, provenance: str | None) -> dict[str, object]:
    """One entry of ``files`` (PEP 592, 691, 700, 714, 740)."""
    metadata = {"sha256": record.metadata_sha256}
    entry: dict[str, object] = {
        "filename": record.filename,
        "url": file_url(record, root),
        "hashes": {"sha256": record.sha256},
        "size": record.size,
        "upload-time": record.uploaded_at,
        "yanked": yanked or False,
        "core-metadata": metadata,  # not under the older name, at which pip 22.3 to 23.1 fail (PEP 714)
    }
    if record.requires_python is not None:
        entry["requires-python"] = record.requires_python
    if provenance is not None:
        entry["provenance"] = provenance
    return entry


def _described(beside: Beside) -> dict[str, object]:
    """The entry of a file that is no distribution (PEP 691, 700)."""
    return {
        "filename": beside.filename,
        "url": beside.url,
        "hashes": {"sha256": beside.sha256},
        "size": beside.size,
        "upload-time": beside.uploaded_at,
    }


def _anchor(record: Record, root: str, yanked: str | None, provenance: str | None) -> str:
    """One link (PEP 503, 592, 658, 714, 740)."""
    digest = f"sha256={record.metadata_sha256}"
    attributes = {
        "href": f"{file_url(record, root)}#sha256={record.sha256}",
        "data-core-metadata": digest,
        "data-dist-info-metadata": digest,
    }
    if record.requires_python is not None:
        attributes["data-requires-python"] = record.requires_python
    if yanked is not None:
        attributes["data-yanked"] = yanked
    if provenance is not None:
        attributes["data-provenance"] = provenance
    spelled = " ".join(f'{key}="{escape(value)}"' for key, value in attributes.items())
    return f"<a {spelled}>{escape(record.filename)}</a>"


def _html(title: str, anchors: Sequence[str], meta: Mapping[str, str] | None = None) -> bytes:
    given = {"repository-version": API_VERSION, **(meta or {})}
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        *(f'<meta name="pypi:{name}" content="{escape(value)}">' for name, value in given.items()),
        f"<title>{escape(title)}</title>",
        "</head>",
        "<body>",
        f"<h1>{escape(title)}</h1>",
        *(f"{anchor}<br>" for anchor in anchors),
        "</body>",
        "</html>",
    ]
    return ("\n".join(lines) + "\n").encode()


def _forms(body: bytes) -> tuple[Form, ...]:
    tag = sha256_hex(body)[:32]
    packed = {
        "gzip": gzip.compress(body, compresslevel=9, mtime=0),
        "zstd": zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(body),
    }
    kept = [Form(name, f'"{tag}-{name}"', data) for name, data in packed.items() if len(data) < len(body)]
    return (Form("identity", f'"{tag}"', body), *kept)
