"""New versions are found where a recipe's sources come from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from packaging.version import Version

from builder.model.recipe import Recipe
from builder.model.sources import Follow, GitSource
from builder.source import newest_tag
from builder.watch.newer import Newer, SourceIndex, Unanswered, find_newer, newest_source, upstream_version
from tests.helpers.builds import RECIPE

SHOWN = """Package: demo
Version: 1.9-1
Directory: pool/main/d/demo
Checksums-Sha256:
 {a} 10 demo_1.9.orig.tar.xz

Package: demo
Version: 1.10+dfsg-1
Directory: pool/main/d/demo
Checksums-Sha256:
 {b} 10 demo_1.10+dfsg-1.dsc
 {c} 10 demo_1.10+dfsg-1.debian.tar.xz
 {d} 10 demo_1.10+dfsg.orig.tar.xz
Build-Depends: debhelper

Package: demo-other
Version: 3-1
""".format(**{letter: letter * 64 for letter in "abcd"})


@pytest.mark.parametrize(
    ("debian", "version"),
    [
        ("2.14.1+dfsg-3", "2.14.1"),
        ("1:2.6.0-1+b2", "2.6.0"),
        ("24.11+dfsg.1-1", "24.11"),
        ("0.3~rc1-2", None),
        ("0.0~git20250905.877328f-2", None),
    ],
)
def test_the_upstream_version_of_a_debian_package(debian: str, version: str | None) -> None:
    assert upstream_version(debian) == (Version(version) if version else None)


def test_the_newest_source_package_and_its_tarballs() -> None:
    found = newest_source(SHOWN, "demo")
    assert found is not None
    assert found.version == Version("1.10")
    assert [(file["path"], file["sha256"]) for file in found.files] == [
        ("pool/main/d/demo/demo_1.10+dfsg.orig.tar.xz", "d" * 64),
        ("pool/main/d/demo/demo_1.10+dfsg-1.debian.tar.xz", "c" * 64),
    ]
    assert newest_source(SHOWN, "absent") is None


def git(folder: Path, *arguments: str) -> str:
    settings = ("-c", "user.name=t", "-c", "user.email=t@t.example", "-c", "tag.gpgSign=false")
    done = subprocess.run(
        ["git", *settings, "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "-b", "main")
    for tag in ("v1.0", "v1.10", "v1.9", "v2.0rc1", "nightly"):
        (folder / "version.txt").write_text("2.0a0\n")
        git(folder, "add", "-A")
        git(folder, "commit", "--quiet", "--allow-empty", "-m", tag)
        git(folder, "tag", "-a", tag, "-m", tag)
    return folder


def test_the_newest_final_tag(repository: Path) -> None:
    assert newest_tag(str(repository)) == (Version("1.10"), "v1.10")


def recipe_of(source: GitSource, *, version: str) -> Recipe:
    table = {"epoch": 1_700_000_000, "source": source.model_dump()}
    return Recipe.model_validate({**RECIPE, "versions": {version: table}})


def test_a_git_recipe_and_a_followed_branch(repository: Path, tmp_path: Path) -> None:
    url = str(repository)
    commit = git(repository, "rev-parse", "v1.0^{}")
    recipe = recipe_of(GitSource(kind="git", url=url, commit=commit), version="1.0")
    recipe = recipe.model_copy(update={"follows": {"main": Follow(url=url, ref="main")}})
    tag, branch = find_newer(recipe, SourceIndex(tmp_path))
    assert isinstance(tag, Newer)
    assert isinstance(branch, Newer)
    assert (tag.kind, tag.old, tag.new, tag.pin) == (
        "git",
        "1.0",
        "1.10",
        git(repository, "rev-parse", "v1.10^{}"),
    )
    assert (branch.follow, branch.old, branch.pin) == ("main", "none", git(repository, "rev-parse", "main"))
    assert branch.new.startswith("2.0.dev")


def test_a_repository_that_does_not_answer_is_no_end(tmp_path: Path) -> None:
    recipe = recipe_of(GitSource(kind="git", url=str(tmp_path / "absent"), commit="0" * 40), version="1.0")
    [found] = find_newer(recipe, SourceIndex(tmp_path))
    assert isinstance(found, Unanswered)
    assert "absent" in found.why
