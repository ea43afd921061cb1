"""docs/reference is what the code says now; `make docs` writes it."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from scripts.reference import FOLDER, REFERENCE
from scripts.reference_markdown import Keys, markdown, table


@pytest.mark.parametrize("name", REFERENCE)
def test_a_page_is_current(name: str) -> None:
    committed = (FOLDER / name).read_text(encoding="utf-8") if (FOLDER / name).is_file() else ""
    assert REFERENCE[name]() == committed, f"docs/reference/{name} differs from the code; run `make docs`"


def test_no_page_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(REFERENCE)


class Part(BaseModel):
    """A part."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    size: int = Field(default=3, gt=0)
    """How large it is, in GiB."""


class Whole(BaseModel):
    """All of it; see :pep:`503`."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    kind: Literal["a", "b"]
    """Which one."""
    part: Part | None = None
    """A part."""
    same: Part = Part()
    """A part."""
    named: dict[str, Part] = Field(default_factory=dict)
    """More parts."""
    names: tuple[str, ...] = ()
    """Names."""
    flag: bool = False
    """Whether."""


def test_keys_of_a_model() -> None:
    assert Keys(Whole).text.splitlines() == [
        "## Top level",
        "",
        "All of it; see PEP 503.",
        "",
        "| key | type | default | meaning |",
        "| --- | --- | --- | --- |",
        '| `kind` | `"a"` or `"b"` | required | Which one. |',
        "| `part` | [table](#part) |  | A part. |",
        "| `same` | [table](#part) |  | A part. |",
        "| `named` | [table](#part) by name |  | More parts. |",
        "| `names` | list of strings |  | Names. |",
        "| `flag` | boolean | `false` | Whether. |",
        "",
        "## `[part]`",
        "",
        "A part.",
        "",
        "| key | type | default | meaning |",
        "| --- | --- | --- | --- |",
        "| `size` | integer | `3` | How large it is, in GiB. (above 0) |",
    ]


def test_a_key_without_a_description_is_named() -> None:
    class Silent(BaseModel):
        table: dict[str, int]

    with pytest.raises(ValueError, match="Silent: no description of table"):
        Keys(Silent)


def test_a_cell_cannot_break_its_table() -> None:
    assert table(("a",), [("x | y\nz",)]).splitlines()[-1] == "| x \\| y z |"


def test_docstrings_become_markdown() -> None:
    assert (
        markdown(":class:`~builder.errors.ConfigError` of ``a``, :pep:`440`")
        == "`builder.errors.ConfigError` of `a`, PEP 440"
    )
