"""lxml: parsing, searching, building and writing trees."""

from typing import Any

from kit import Run, Workload, main

_ENTRIES = 300


def _text() -> bytes:
    entries = "".join(
        f"<book id='b{n}' lang='en'><title>Title &amp; number {n}</title><author>A. Writer</author>"
        f"<price currency='EUR'>{n * 1.25}</price></book>"
        for n in range(_ENTRIES)
    )
    return f"<?xml version='1.0'?><catalog xmlns='urn:books'>{entries}</catalog>".encode()


def _page() -> str:
    rows = "".join(
        f"<tr class='row r{n % 3}'><td>{n}<td><a href='/item/{n}'>item {n}</a><br>" for n in range(150)
    )
    return f"<html><body><table>{rows}</table></body>"


def _root() -> Any:
    from lxml import etree

    return etree.fromstring(_text().replace(b" xmlns='urn:books'", b""))


def _parse() -> Run:
    from lxml import etree

    text = _text()
    return lambda: etree.fromstring(text)


def _parse_html() -> Run:
    from lxml import html

    page = _page()
    return lambda: html.document_fromstring(page)


def _iterate() -> Run:
    root = _root()
    return lambda: [(one.tag, one.get("id"), one.text) for one in root.iter()]


def _search() -> Run:
    from lxml import etree

    root = _root()
    path = etree.XPath("//book[price > 300]/title/text()")
    return lambda: path(root)


def _build() -> Run:
    from lxml import etree

    def run() -> None:
        root = etree.Element("root")
        for n in range(200):
            etree.SubElement(root, "entry", number=str(n)).text = "text"

    return run


def _write() -> Run:
    from lxml import etree

    root = _root()
    return lambda: etree.tostring(root, encoding="utf-8", pretty_print=True)


def _transform() -> Run:
    from lxml import etree

    sheet = etree.XSLT(
        etree.fromstring(
            "<x:stylesheet version='1.0' xmlns:x='http://www.w3.org/1999/XSL/Transform'><x:template match='/'>"
            "<list><x:for-each select='//book'><x:sort select='price' data-type='number' order='descending'/>"
            "<i><x:value-of select='title'/></i></x:for-each></list></x:template></x:stylesheet>"
        )
    )
    root = _root()
    return lambda: sheet(root)


def _events() -> Run:
    import io

    from lxml import etree

    text = _text()
    return lambda: sum(1 for _ in etree.iterparse(io.BytesIO(text), tag="{urn:books}price"))


WORKLOADS = (
    Workload("parse-xml", "300 entries with attributes, 40 kB", _parse),
    Workload("parse-html", "a table of 150 rows with unclosed tags", _parse_html),
    Workload("iterparse", "300 entries, one event each", _events),
    Workload("iterate", "1,200 elements: name, attribute and text", _iterate),
    Workload("xpath", "a search with a comparison over 300 entries", _search),
    Workload("build", "200 elements with an attribute and text", _build),
    Workload("write", "300 entries, indented", _write),
    Workload("xslt", "300 entries sorted and rewritten", _transform),
)

if __name__ == "__main__":
    main("lxml.etree", WORKLOADS)
