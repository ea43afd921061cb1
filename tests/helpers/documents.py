"""The project's documents and what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "scripts/*.md", "distributions/**/*.md")
    for path in ROOT.glob(pattern)
)


def tokens(document: Path) -> Iterator[Token]:
    """All tokens of a document, those inside paragraphs and headings too."""
    for token in MarkdownIt("commonmark").enable("table").parse(document.read_text(encoding="utf-8")):
        yield token
        yield from token.children or ()


def code_of(document: Path) -> Iterator[str]:
    """The text of code blocks and of code in backticks."""
    for token in tokens(document):
        if token.type in ("code_inline", "code_block", "fence"):
            yield token.content
