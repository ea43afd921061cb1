"""Sources become clean trees, or say why not. Git and archives are real and local."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from builder.errors import SourceError
from builder.model import VersionSource
from builder.settings import validate
from builder.source import origin, prepare, source_digest

PATCH = """--- a/hello.c
+++ b/hello.c
@@ -1 +1 @@
-int a;
+int b;
"""


def _source(source: dict, patches: list | None = None) -> VersionSource:
    data = {"source": source, "patches": patches or [], "epoch": 1_700_000_000}
    return validate(VersionSource, data, origin="test")


def _archive(configs: Path, text: str = "int a;\n") -> dict[str, str]:
    tree = configs / "demo-1.0"
    tree.mkdir()
    (tree / "hello.c").write_text(text)
    path = configs / "recipes/demo-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tree, "demo-1.0")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"kind": "archive", "url": path.name, "sha256": digest}


def _patch(configs: Path, text: str) -> dict[str, str]:
    path = configs / "recipes/fix.patch"
    path.write_text(text)
    return {"file": path.name, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def test_an_archive_is_unpacked_and_patched_once(configs: Path, tmp_path: Path) -> None:
    source = _source(_archive(configs), [_patch(configs, PATCH)])
    tree = prepare("demo", source, tmp_path / "home")
    assert (tree / "hello.c").read_text() == "int b;\n"
    assert prepare("demo", source, tmp_path / "home") == tree
    assert [path.name for path in tree.parent.iterdir() if path.is_dir()] == [tree.name]


def test_a_patch_applies_inside_another_repository_too(configs: Path, tmp_path: Path) -> None:
    home = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", str(home)], check=True)
    tree = prepare("demo", _source(_archive(configs), [_patch(configs, PATCH)]), home / "var")
    assert (tree / "hello.c").read_text() == "int b;\n"


def test_a_patch_that_does_not_apply_leaves_no_tree(configs: Path, tmp_path: Path) -> None:
    source = _source(_archive(configs, "int z;\n"), [_patch(configs, PATCH)])
    with pytest.raises(SourceError, match=r"fix\.patch does not apply"):
        prepare("demo", source, tmp_path / "home")
    assert not [path for path in (tmp_path / "home/sources").iterdir() if path.is_dir()]


def test_another_hash_is_refused(configs: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the recipe pins 0000"):
        prepare("demo", _source({**_archive(configs), "sha256": "0" * 64}), tmp_path / "home")
    patch = {**_patch(configs, PATCH), "sha256": "0" * 64}
    fresh = configs / "recipes/demo-1.0.tar.gz"
    digest = hashlib.sha256(fresh.read_bytes()).hexdigest()
    source = _source({"kind": "archive", "url": fresh.name, "sha256": digest}, [patch])
    with pytest.raises(SourceError, match="the recipe pins 0000"):
        prepare("demo", source, tmp_path / "home")


def test_an_archive_that_climbs_out_is_refused(configs: Path, tmp_path: Path) -> None:
    path = configs / "recipes/evil.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../../evil"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(SourceError, match="could not be unpacked"):
        prepare("demo", _source({"kind": "archive", "url": path.name, "sha256": digest}), tmp_path / "home")


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _repository(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    _git(path, "init", "-q")
    (path / "file.txt").write_text(text)
    _git(path, "add", "-A")
    _git(path, "commit", "-qm", "one")
    return path


def test_a_commit_comes_with_its_submodules(tmp_path: Path) -> None:
    inner = _repository(tmp_path, "inner", "inner\n")
    outer = _repository(tmp_path, "outer", "outer\n")
    _git(outer, "submodule", "add", "-q", str(inner), "third_party/inner")
    _git(outer, "commit", "-qm", "two")
    commit = _git(outer, "rev-parse", "HEAD")
    (outer / "file.txt").write_text("later\n")
    _git(outer, "commit", "-qam", "three")
    source = _source({"kind": "git", "url": str(outer), "commit": commit})
    tree = prepare("demo", source, tmp_path / "home")
    assert (tree / "file.txt").read_text() == "outer\n"
    assert (tree / "third_party/inner/file.txt").read_text() == "inner\n"
    assert origin(source)[0].endswith(f"@{commit}")


def test_an_unknown_commit_is_told(tmp_path: Path) -> None:
    outer = _repository(tmp_path, "outer", "outer\n")
    source = _source({"kind": "git", "url": str(outer), "commit": "0" * 40})
    with pytest.raises(SourceError, match="git"):
        prepare("demo", source, tmp_path / "home")


def test_a_tree_is_named_by_its_pins() -> None:
    one = _source({"kind": "archive", "url": "a.tar", "sha256": "0" * 64})
    other = _source({"kind": "archive", "url": "a.tar", "sha256": "1" * 64})
    patched = _source(
        {"kind": "archive", "url": "a.tar", "sha256": "0" * 64}, [{"file": "p", "sha256": "2" * 64}]
    )
    assert len({source_digest(one), source_digest(other), source_digest(patched)}) == 3


def _tarball(home: Path, name: str, files: dict[str, str]) -> str:
    """A tar archive among the downloads, where a fetched one would lie; returns its sha256."""
    made = home / name
    made.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(made, "w:xz") as tar:
        for path, text in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    sha256 = hashlib.sha256(made.read_bytes()).hexdigest()
    kept = home / "downloads" / sha256 / name
    kept.parent.mkdir(parents=True)
    made.rename(kept)
    return sha256


def _debian(home: Path, **changed: object) -> VersionSource:
    orig = _tarball(
        home, "demo_1.0.orig.tar.xz", {"demo-1.0/hello.c": "int a;\n", "demo-1.0/lib/README": "empty"}
    )
    packaging = _tarball(
        home,
        "demo_1.0-1.debian.tar.xz",
        {
            "debian/rules": "",
            "debian/patches/fix.patch": PATCH,
            "debian/patches/unwanted.patch": "no patch at all",
            "debian/embedded/part.h": "#pragma once\n",
        },
    )
    other = _tarball(home, "other_2.orig.tar.xz", {"top.c": "int o;\n", "sub/o.h": ""})
    sdist = _tarball(home, "bind-3.tar.gz", {"bind-3/include/bind.h": "// bind\n"})
    return _source(
        {
            "kind": "debian",
            "files": [
                {"path": "pool/d/demo_1.0.orig.tar.xz", "sha256": orig},
                {"path": "pool/d/demo_1.0-1.debian.tar.xz", "sha256": packaging},
                {"path": "pool/o/other_2.orig.tar.xz", "sha256": other, "into": "third_party/other"},
            ],
            "sdists": [
                {"project": "bind", "filename": "bind-3.tar.gz", "sha256": sdist, "into": "third_party/bind"}
            ],
            "placed": [{"folder": "debian/embedded", "at": "lib"}],
            "quilt": ["fix.patch"],
            **changed,
        }
    )


def test_a_debian_source_is_laid_together_again(configs: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    tree = prepare("demo", _debian(home), home)
    assert (tree / "hello.c").read_text() == "int b;\n"  # the chosen patch, and not the other one
    assert (tree / "third_party/other/top.c").is_file()
    assert (tree / "third_party/other/sub/o.h").is_file()
    assert (tree / "third_party/bind/include/bind.h").is_file()
    assert {path.name for path in (tree / "lib").iterdir()} == {"README", "part.h"}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"quilt": ["missing.patch"]}, "has no patch missing.patch"),
        ({"placed": [{"folder": "debian/gone", "at": "x"}]}, "has no folder debian/gone"),
    ],
)
def test_a_debian_source_that_lacks_what_the_recipe_names_is_refused(
    configs: Path, tmp_path: Path, changed: dict, reason: str
) -> None:
    home = tmp_path / "home"
    with pytest.raises(SourceError, match=reason):
        prepare("demo", _debian(home, **changed), home)
