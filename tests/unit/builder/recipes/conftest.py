"""An index with one made-up project, whose files are on this disk."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from builder.recipes import project
from builder.toolbox.fetch import Listed
from builder.whole import sha256_of

PKG_INFO = """Metadata-Version: 2.4
Name: Demo_Pack
Version: VERSION
Summary: A demo
License-Expression: MIT
Requires-Python: >=3.9
Classifier: Programming Language :: Python :: 3.13
"""
SDIST = {
    "PKG-INFO": PKG_INFO,
    "pyproject.toml": (
        '[build-system]\nrequires = ["setuptools>=70", "cython"]\nbuild-backend = "setuptools.build_meta"\n'
    ),
    "setup.py": 'Extension("demo_pack._fast", ["fast.c"], libraries=["yaml"])\n',
    "fast.c": "int one(void) { return 1; }\n",
}
WHEEL = {
    "demo_pack/__init__.py": "def dumps(data): ...\ndef loads(text): ...\n",
    "demo_pack/_fast.cpython-313-aarch64-linux-gnu.so": "machine code",
    "demo_pack.libs/libz-0123abcd.so.1": "machine code",
    "demo_pack-1.0.dist-info/METADATA": PKG_INFO
    + "Requires-Dist: numpy>=2\nRequires-Dist: pytest; extra == 'test'\n",
}


class FakeIndex:
    """Files of ``demo-pack`` as an index lists them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listed: list[Listed] = []
        self.others: dict[str, list[Listed]] = {}

    def add(self, name: str, members: Mapping[str, str], project: str = "demo-pack") -> None:
        path = self.folder / name
        if name.endswith(".whl"):
            with zipfile.ZipFile(path, "w") as archive:
                for inside, text in members.items():
                    archive.writestr(inside, text)
        else:
            with tarfile.open(path, "w:gz") as tar:
                for inside, text in members.items():
                    info = tarfile.TarInfo(f"top/{inside}")
                    info.size, info.mtime = len(text.encode()), 1_700_000_000
                    tar.addfile(info, io.BytesIO(text.encode()))
        files = self.listed if project == "demo-pack" else self.others.setdefault(project, [])
        files.append(Listed(name, sha256_of(path)))

    def sdist(self, version: str = "1.0", **changed: str) -> None:
        members = {**SDIST, **{name.replace("__", "."): text for name, text in changed.items()}}
        self.add(
            f"demo_pack-{version}.tar.gz", {k: v.replace("VERSION", version) for k, v in members.items()}
        )

    def list_files(self, name: str) -> list[Listed]:
        return self.listed if name == "demo-pack" else self.others.get(name, [])

    def fetch(self, name: str, filename: str, sha256: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.folder / filename, target)
        assert sha256_of(target) == sha256


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeIndex:
    folder = tmp_path / "index"
    folder.mkdir()
    fake = FakeIndex(folder)
    monkeypatch.setattr(project, "list_pypi", fake.list_files)
    monkeypatch.setattr(project, "fetch_pypi", fake.fetch)
    return fake


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of recipes of the user's."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setenv("ARMWHEELS_RECIPES", str(folder))
    monkeypatch.setenv("ARMWHEELS_HOME", str(tmp_path / "home"))
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs ``armwheels`` and returns its exit code."""
    from builder import cli

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["armwheels", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0)

    return run
