"""Every link, anchor and path that the documents name exists. Nothing is fetched."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.helpers.documents import DOCUMENTS, ROOT, code_of, tokens

# Folders of the repository: a path in backticks or in a command that begins with one of them must exist.
FOLDERS = ("builder", "configs", "docs", "examples", "index_server", "scripts", "tests")
PATH = re.compile(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/[\w./*:-]*")
# A word in capitals (NAME) stands for any name; the reader's own files are called my-something.
PLACEHOLDER = re.compile(r"\b[A-Z]{2,}\b")
OWN_FILE = re.compile(r"/my[-_]")
ADDRESS = {"link_open": "href", "image": "src"}


@cache
def anchors(document: Path) -> frozenset[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    found: Counter[str] = Counter()
    names = set()
    parsed = list(tokens(document))
    for opening, inline in pairwise(parsed):
        if opening.type != "heading_open":
            continue
        text = "".join(part.content for part in inline.children or () if part.type in ("text", "code_inline"))
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        names.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return frozenset(names)


def broken_links(document: Path) -> Iterator[str]:
    for token in tokens(document):
        if token.type not in ADDRESS:
            continue
        target = str(token.attrGet(ADDRESS[token.type]))
        address = urlsplit(target)
        if address.scheme or address.netloc:
            continue
        file = (document.parent / unquote(address.path)).resolve() if address.path else document
        if not file.exists():
            yield f"{target}: no such file"
        elif address.fragment and address.fragment not in anchors(file):
            yield f"{target}: no such heading; there are {', '.join(sorted(anchors(file)))}"


def broken_paths(document: Path) -> Iterator[str]:
    for code in code_of(document):
        for path in PATH.findall(code):
            if OWN_FILE.search(path):
                continue
            name, _, test = path.partition("::")
            pattern = PLACEHOLDER.sub("*", name.rstrip("/.:"))
            files = list(ROOT.glob(pattern))
            if not files:
                yield f"{path}: no such file"
            elif test and f"def {test}(" not in files[0].read_text():
                yield f"{path}: no such test"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_paths_exist(document: Path) -> None:
    assert [*broken_links(document), *broken_paths(document)] == []


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("[a](README.md)", 0),
        ("[a](gone.md)", 1),
        ("![a](gone.svg)", 1),
        ("[a](https://example.org/gone.md)", 0),
        ("# One `two`, three\n\n[a](#one-two-three)", 0),
        ("# Same\n\n# Same\n\n[a](#same-1)", 0),
        ("[a](#gone)", 1),
        ("`builder/cli.py` and `builder/gone.py`", 1),
        ("`configs/recipes/NAME.toml` and `tests/unit/docs/*.py`", 0),
        ("    python scripts/gone.py WHEEL", 1),
        ("    cp configs/recipes/numpy.toml configs/recipes/my-recipe.toml", 0),
        ("`tests/unit/docs/test_document_links.py::test_gone`", 1),
        ("`/usr/share/docs/gone` and `tensorflow/builder/gone.py`", 0),
    ],
)
def test_what_counts_as_broken(tmp_path: Path, text: str, faults: int) -> None:
    (tmp_path / "README.md").touch()
    document = tmp_path / "document.md"
    document.write_text(text)
    assert len([*broken_links(document), *broken_paths(document)]) == faults
