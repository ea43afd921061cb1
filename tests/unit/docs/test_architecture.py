"""docs/architecture.md names each package and top-level module of both halves."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("half", ["builder", "index_server"])
def test_every_top_level_module_has_a_line(half: str) -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    section = text.partition(f"| `{half}/` |")[2].partition("\n\n")[0]
    here = [path for path in (ROOT / half).iterdir() if path.name not in ("__init__.py", "__pycache__")]
    names = [f"`{path.name}/`" if path.is_dir() else f"`{path.name}`" for path in here]
    assert [name for name in names if name not in section] == []


def test_every_script_has_a_line() -> None:
    text = (ROOT / "scripts/README.md").read_text()
    scripts = {path.name for path in (ROOT / "scripts").glob("*.[pc]*")} - {"__init__.py", "__pycache__"}
    assert {name for name in scripts if f"`{name}`" not in text} == set()
