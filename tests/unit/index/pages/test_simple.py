"""Pages: the same facts as HTML and JSON, escaped, negotiated."""

from __future__ import annotations

import gzip
import json
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from index_server.model import Record
from index_server.pages.negotiation import (
    HTML,
    JSON,
    TEXT,
    etag_matches,
    header_fields,
    negotiate_encoding,
    negotiate_type,
)
from index_server.pages.simple import Page, project_page, root_page
from tests.helpers.records import any_record, make_record

PIP = f"{JSON}, {HTML}; q=0.1, text/html; q=0.01"
UV = f"{JSON}, {HTML};q=0.2, text/html;q=0.01"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


class Links(HTMLParser):
    """Collects the links of a page."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.links: list[dict[str, str | None]] = []
        self.texts: list[str] = []
        self._inside = False
        self.feed(page.form(TEXT, "identity").body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links.append(dict(attrs))
            self._inside = True

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts.append(data)
            self._inside = False


@given(st.lists(any_record(), max_size=6, unique_by=lambda record: record.filename))
def test_html_and_json_say_the_same(records: list[Record]) -> None:
    page = project_page("demo", records)
    data = json.loads(page.form(JSON, "identity").body)
    html = Links(page)
    assert html.texts == [file["filename"] for file in data["files"]] == [r.filename for r in records]
    assert set(data["versions"]) == {record.version for record in records}
    for link, file, record in zip(html.links, data["files"], records, strict=True):
        url = urlsplit(link["href"] or "")
        assert url.path == file["url"]
        assert url.netloc == ""
        assert unquote(url.path) == f"/files/{record.sha256}/{record.filename}"
        assert url.fragment == "sha256=" + file["hashes"]["sha256"]
        assert link["data-core-metadata"] == link["data-dist-info-metadata"]
        assert link["data-core-metadata"] == "sha256=" + file["core-metadata"]["sha256"]
        assert "dist-info-metadata" not in file  # PEP 714
        assert link.get("data-requires-python") == file.get("requires-python") == record.requires_python
        assert file["size"] == record.size
        assert file["upload-time"].endswith("Z")


@given(st.text(max_size=40))
@example("\r\n\0\"'><a href=x>&quot;")
def test_names_cannot_break_out_of_html(name: str) -> None:
    record = make_record(requires_python=name)
    page = project_page(name, [record])
    [link] = Links(page).links
    assert link["data-requires-python"] == name
    assert len(Links(root_page([name])).links) == 1


def test_versions_are_in_order() -> None:
    records = [make_record(version=version) for version in ("1.10", "1.9", "1.9rc1")]
    data = json.loads(project_page("demo", records).form(JSON, "identity").body)
    assert [version.partition("+")[0] for version in data["versions"]] == ["1.9rc1", "1.9", "1.10"]
    assert data["meta"] == {"api-version": "1.4"}


def test_every_encoding_is_the_same_page_under_another_etag() -> None:
    page = project_page("demo", [make_record(version=f"1.{n}") for n in range(50)])
    for media in (JSON, TEXT):
        plain = page.form(media, "identity")
        packed = page.form(media, "gzip")
        dense = page.form(media, "zstd")
        assert gzip.decompress(packed.body) == plain.body
        assert zstandard.ZstdDecompressor().decompress(dense.body) == plain.body
        assert len({plain.etag, packed.etag, dense.etag}) == 3
    assert page.form(JSON, "br") == page.form(JSON, "identity")


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, TEXT),
        ("", TEXT),
        ("*/*", TEXT),
        (PIP, JSON),
        (UV, JSON),
        (f"{JSON}, */*;q=0.1", JSON),
        (BROWSER, TEXT),
        (HTML, HTML),
        ("application/vnd.pypi.simple.latest+json", JSON),
        ("application/vnd.pypi.simple.latest+html", HTML),
        (f"text/html, {JSON}", JSON),
        (f"{JSON};q=0.2, text/html;q=0.3", TEXT),
        (f"{JSON};q=0, */*", TEXT),
        ("text/*;q=0.5", TEXT),
        ("application/*", JSON),
        ("application/vnd.pypi.simple.v2+json", None),
        (f"{JSON};q=0", None),
        ("image/png", None),
        ("*/*;q=0", None),
        (f"{JSON};q=nonsense", None),
    ],
)
def test_the_accept_header_chooses_the_form(accept: str | None, media: str | None) -> None:
    assert negotiate_type(accept) == media


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip, deflate", "gzip"),
        ("gzip, deflate, zstd", "zstd"),
        ("zstd;q=0.5, gzip", "gzip"),
        ("*", "zstd"),
        ("*;q=0.3, zstd;q=0", "gzip"),
        ("identity;q=1, gzip;q=0.5", "identity"),
        ("gzip;q=0", "identity"),
        ("br", "identity"),
    ],
)
def test_the_accept_encoding_header_chooses_the_encoding(accept: str | None, encoding: str) -> None:
    assert negotiate_encoding(accept) == encoding


@pytest.mark.parametrize("quality", ["nan", "-nan", "NaN", "x", "", "-1"])
def test_a_quality_that_is_no_number_counts_as_none(quality: str) -> None:
    assert negotiate_type(f"text/html;q={quality}") is None
    for accept in (f"text/html, text/html;q={quality}", f"text/html;q={quality}, text/html"):
        assert negotiate_type(accept) == TEXT


def test_lines_of_one_name_are_one_list() -> None:
    lines = [(b"accept", b"text/plain"), (b"host", b"a"), (b"accept", JSON.encode())]
    assert header_fields(lines) == {b"accept": f"text/plain, {JSON}", b"host": "a"}


@given(st.text(max_size=60))
def test_any_header_is_answered_with_a_form_that_there_is(header: str) -> None:
    assert negotiate_type(header) in {JSON, HTML, TEXT, None}
    assert negotiate_encoding(header) in {"identity", "gzip", "zstd"}


def test_if_none_match_is_a_list_of_etags() -> None:
    assert etag_matches('"a", W/"b"', '"b"')
    assert etag_matches("*", '"b"')
    assert not etag_matches("", '"b"')
    assert not etag_matches('"bb"', '"b"')


def test_the_day_until_which_a_channel_lists_a_file() -> None:
    record = make_record(version="2.0.dev1")
    page = project_page("demo", [record], listed={record.filename: "2026-12-27"})
    [file] = json.loads(page.form(JSON, "identity").body)["files"]
    assert file["_listed-until"] == "2026-12-27"
    assert "_retain-until" not in file
