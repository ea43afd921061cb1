"""Sources become clean trees, or say why not. Git and archives are real and local."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest

from builder.errors import SourceError
from builder.model.recipe import Recipe
from builder.model.sources import Follow, GitSource, VersionSource
from builder.settings import validate
from builder.source import check_answers, origin, pin_followed, prepare, source_digest
from tests.helpers.builds import tarball

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


def test_all_faults_of_the_patches_are_told_before_anything_is_fetched(configs: Path, tmp_path: Path) -> None:
    patches = [{**_patch(configs, PATCH), "sha256": "0" * 64}, {"file": "gone.patch", "sha256": "1" * 64}]
    nowhere = {"kind": "archive", "url": "nowhere.tar.gz", "sha256": "2" * 64}
    with pytest.raises(SourceError) as refused:
        prepare("demo", _source(nowhere, patches), tmp_path / "home")
    assert "fix.patch: sha256 is" in str(refused.value)
    assert "gone.patch: no such patch" in str(refused.value)


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
    with pytest.raises(SourceError, match=r"gives nothing: .*not our ref"):
        prepare("demo", source, tmp_path / "home")


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """A repository with a branch that grows towards 2.7.0 and an annotated tag of a release before."""
    outer = _repository(tmp_path, "upstream", "outer\n")
    (outer / "version.txt").write_text("2.6.0\n")
    _git(outer, "add", "-A")
    _git(outer, "commit", "-qm", "release")
    _git(outer, "tag", "-a", "v2.6.0", "-m", "2.6.0")
    _git(outer, "checkout", "-q", "-b", "nightly")
    (outer / "version.txt").write_text("2.7.0a0\n")
    _git(outer, "add", "-A")
    _git(outer, "commit", "-qm", "night")
    return outer


def test_a_branch_becomes_a_version_of_the_commits_day(
    upstream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Half an hour before midnight where it was made, the next day in UTC.
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-11-25T23:30:00-02:00")
    _git(upstream, "commit", "-q", "--allow-empty", "-m", "late")
    stands = pin_followed(Follow(url=str(upstream), ref="nightly"))
    assert stands.version == "2.7.0.dev20261126"
    assert stands.commit == _git(upstream, "rev-parse", "HEAD")


def test_a_tag_becomes_the_version_it_names_at_the_commit_it_points_to(upstream: Path) -> None:
    stands = pin_followed(Follow(url=str(upstream), ref="v2.6.0"))
    assert stands.version == "2.6.0"
    assert stands.commit == _git(upstream, "rev-parse", "v2.6.0^{commit}")


def test_what_cannot_be_followed_is_told(upstream: Path) -> None:
    with pytest.raises(SourceError, match="no branch and no tag 'main-line'"):
        pin_followed(Follow(url=str(upstream), ref="main-line"))
    with pytest.raises(SourceError, match="holds 'outer', which is no version"):
        pin_followed(Follow(url=str(upstream), ref="nightly", version_file="file.txt"))


def test_a_pinned_commit_is_a_version_of_the_recipe_and_its_tree(
    upstream: Path, recipe: Recipe, tmp_path: Path
) -> None:
    follow = Follow(
        url=str(upstream), ref="nightly", options=("-DUSE_TENSORPIPE=ON",), environment={"A": "1"}
    )
    stands = pin_followed(follow)
    whole = recipe.model_copy(update={"follows": {"nightly": follow}}).with_followed(
        {"nightly": stands, "gone": stands}
    )
    assert whole.version_of("nightly") == stands.version
    assert whole.version_of("1.0") == "1.0"
    assert set(whole.versions) == {"1.0", stands.version}
    source = whole.versions[stands.version]
    assert (source.options, source.environment) == (("-DUSE_TENSORPIPE=ON",), {"A": "1"})
    assert (prepare("demo", source, tmp_path / "home") / "version.txt").read_text() == "2.7.0a0\n"


def test_a_tree_is_named_by_its_pins() -> None:
    one = _source({"kind": "archive", "url": "a.tar", "sha256": "0" * 64})
    other = _source({"kind": "archive", "url": "a.tar", "sha256": "1" * 64})
    patched = _source(
        {"kind": "archive", "url": "a.tar", "sha256": "0" * 64}, [{"file": "p", "sha256": "2" * 64}]
    )
    assert len({source_digest(one), source_digest(other), source_digest(patched)}) == 3


def _debian(home: Path, **changed: object) -> VersionSource:
    orig = tarball(
        home, "demo_1.0.orig.tar.xz", {"demo-1.0/hello.c": "int a;\n", "demo-1.0/lib/README": "empty"}
    )
    packaging = tarball(
        home,
        "demo_1.0-1.debian.tar.xz",
        {
            "debian/rules": "",
            "debian/patches/fix.patch": PATCH,
            "debian/patches/unwanted.patch": "no patch at all",
            "debian/embedded/part.h": "#pragma once\n",
        },
    )
    other = tarball(home, "other_2.orig.tar.xz", {"top.c": "int o;\n", "sub/o.h": ""})
    sdist = tarball(home, "bind-3.tar.gz", {"bind-3/include/bind.h": "// bind\n"})
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


def test_a_repository_is_asked_whether_it_answers(tmp_path: Path) -> None:
    outer = _repository(tmp_path, "outer", "outer\n")
    source = GitSource(kind="git", url=str(outer), commit="0" * 40)
    check_answers(source)
    absent = source.model_copy(update={"url": str(tmp_path / "absent")})
    with pytest.raises(SourceError, match=f"the repository {tmp_path}/absent gives nothing: "):
        check_answers(absent)


def test_a_repository_that_is_silent_does_not_hold_the_plan(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"git://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(SourceError, match=r"gives nothing: no answer in 0\.5 seconds"):
            check_answers(GitSource(kind="git", url=url, commit="0" * 40), seconds=0.5)
