"""Git repositories: one commit as a tree, and the commit of a branch or tag."""

from __future__ import annotations

import os
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from packaging.version import InvalidVersion, Version

from builder.errors import SourceError
from builder.model.sources import Follow, Followed, GitSource


def clone(source: GitSource, tree: Path) -> None:
    """Check out one commit with its submodules, and nothing of the history."""
    tree.mkdir()
    # Submodules of a local repository are themselves local; git refuses those unless told otherwise.
    local = [] if "://" in source.url else ["-c", "protocol.file.allow=always"]
    git = ["git", *local, "-C", str(tree)]
    _run([*git, "init", "--quiet"], tree)
    _from(source.url, [*git, "fetch", "--quiet", "--depth=1", source.url, source.commit], tree)
    _run([*git, "checkout", "--quiet", "FETCH_HEAD"], tree)
    if source.submodules:
        _run([*git, "submodule", "update", "--quiet", "--init", "--recursive", "--depth=1"], tree)


def newest_tag(url: str) -> tuple[Version, str] | None:
    """The newest final version that a tag of a repository names, such as ``v2.6.0``, and the tag.

    Raises:
        SourceError: the repository does not answer.
    """
    listed = _run(["git", "ls-remote", "--tags", "--refs", url], Path.cwd()).splitlines()
    found = []
    for line in listed:
        tag = line.partition("\t")[2].removeprefix("refs/tags/")
        try:
            version = Version(tag)
        except InvalidVersion:
            continue
        if not version.is_prerelease:
            found.append((version, tag))
    return max(found) if found else None


def check_answers(source: GitSource, seconds: float = 10) -> None:
    """Ask a repository for the commit of its HEAD, for ``seconds`` at most.

    Raises:
        SourceError: it cannot be reached, or is no repository.
    """
    _from(source.url, ["git", "ls-remote", source.url, "HEAD"], Path(tempfile.gettempdir()), seconds)


def pin_followed(follow: Follow) -> Followed:
    """Ask a repository for the commit of the branch or tag that is followed, and for the version of that commit.

    Raises:
        SourceError: it cannot be reached, has no such branch or tag, or no version can be read there.
    """
    with tempfile.TemporaryDirectory(prefix="armwheels-") as scratch:
        git, folder = ["git", "-C", scratch], Path(scratch)
        _run([*git, "init", "--quiet"], folder)
        wanted = [f"refs/heads/{follow.ref}", f"refs/tags/{follow.ref}", f"refs/tags/{follow.ref}^{{}}"]
        listed = _run([*git, "ls-remote", follow.url, *wanted], folder).splitlines()
        commits = {name: commit for commit, name in (line.split("\t") for line in listed)}
        # The last is the commit that an annotated tag points at (git-ls-remote(1)).
        found = [name for name in wanted if name in commits]
        if not found:
            raise SourceError(f"{follow.url} has no branch and no tag '{follow.ref}'")
        commit = commits[found[-1]]
        _run([*git, "fetch", "--quiet", "--depth=1", "--filter=blob:none", follow.url, commit], folder)
        epoch = int(_run([*git, "log", "-1", "--format=%ct", commit], folder))
        if found[-1] == wanted[0]:
            _run([*git, "remote", "add", "origin", follow.url], folder)
            written = _run([*git, "show", f"{commit}:{follow.version_file}"], folder)
            day = datetime.fromtimestamp(epoch, tz=UTC)
            version = f"{_release(written, f'{follow.version_file} of {follow.url}')}.dev{day:%Y%m%d}"
        else:
            version = _release(follow.ref, f"the tag of {follow.url}")
    return Followed(version=version, commit=commit, epoch=epoch)


def _release(text: str, where: str) -> str:
    """The release ``X.Y.Z`` of a version such as ``v2.6.0`` or ``2.7.0a0``; ``where`` names it in the error."""
    try:
        return Version(text.strip()).base_version
    except InvalidVersion:
        raise SourceError(f"{where} holds '{text.strip()[:40]}', which is no version (PEP 440)") from None


def _from(url: str, command: list[str], folder: Path, seconds: float | None = None) -> None:
    """Run a command that asks a repository.

    Raises:
        SourceError: with git's own reason, that it gave no answer in time included.
    """
    try:
        _run(command, folder, seconds)
    except SourceError as error:
        reason = str(error).rpartition("fatal: ")[2]
        raise SourceError(f"the repository {url} gives nothing: {reason}") from None


def _run(command: list[str], folder: Path, seconds: float | None = None) -> str:
    named = " ".join(command[:1] + command[-3:])
    # Otherwise git waits for a password at the terminal (git(1), "Environment Variables").
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env=environment,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise SourceError(f"{named} failed: fatal: no answer in {seconds:g} seconds") from None
    if done.returncode:
        raise SourceError(f"{named} failed: {done.stderr.strip()}")
    return done.stdout
