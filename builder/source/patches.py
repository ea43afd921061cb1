"""Patches: checked against their hashes, and applied by git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from builder.errors import SourceError
from builder.folders import beside_recipes, pinned_file
from builder.model.sources import Patch
from builder.whole import sha256_of


def checked_patches(patches: tuple[Patch, ...]) -> list[Path]:
    """The files of a recipe's own patches, checked against their hashes before anything is fetched.

    Raises:
        SourceError: with every patch that is missing or differs from its hash.
    """
    found = []
    faults = []
    for patch in patches:
        path = pinned_file(patch.file, patch.sha256)
        if path is None:
            faults.append(f"{' nor '.join(map(str, beside_recipes(patch.file)))}: no such patch")
        elif (sha256 := sha256_of(path)) != patch.sha256:
            faults.append(f"{patch.file}: sha256 is {sha256}, the recipe pins {patch.sha256}")
        else:
            found.append(path)
    if faults:
        raise SourceError("\n".join(faults))
    return found


def apply_patch(patch: Path, tree: Path) -> None:
    """Apply a patch to the tree by git; raises :class:`SourceError` if it does not apply."""
    # git would look for a repository around the tree and then apply nothing; the ceiling hides it.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    done = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", str(patch)],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SourceError(f"{patch.name} does not apply:\n{done.stderr.strip()}")
