"""What the file name of our wheels says, and whether a passport agrees with it. Pure.

The index server has the same rule; ``tests/unit/test_configs_both.py`` holds both to one table of cases.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from packaging.tags import Tag
from packaging.version import InvalidVersion, Version

from builder.model.pythons import built_for

BUILD_DIGITS = 8  # of the wheel digest, in the build tag


def local_version(target: str, backend: str | None) -> str:
    """The local version (:pep:`440`): the target, then the backend unless it is the default one (``None``)."""
    parts = [target] if backend is None else [target, backend]
    return ".".join(parts).replace("-", ".")


def build_tag(build_number: int, wheel_digest: str) -> str:
    """The build number and the first eight digits of the wheel digest."""
    return f"{build_number}_{wheel_digest[:BUILD_DIGITS]}"


def disagreements(
    passport: Mapping[str, Any], *, project: str, version: str, build: str, tags: Collection[Tag]
) -> list[str]:
    """How a passport, valid by its schema, differs from the parts of the file name; empty where they agree."""
    try:
        public = Version(passport["version"])
    except InvalidVersion:
        return [f"version {passport['version']!r} is not a version (PEP 440)"]
    named = Version(version)
    target, python, digest = passport["target"], passport["python"], passport["digests"]["wheel"]
    local = local_version(target, None if passport["default_backend"] else passport["backend"])
    cell = f"{project}-{passport['version']}-{python}-{target}"
    spelled = ", ".join(sorted({f"{tag.interpreter}-{tag.abi}" for tag in tags}))
    checks = [
        (
            public.local is None and named.public == str(public),
            f"is of version {passport['version']}, the file name says {named.public}",
        ),
        (named.local == local, f"is for '{local}', the file name says '{named.local or 'no target'}'"),
        (
            re.fullmatch(rf"[0-9]+_{re.escape(digest[:BUILD_DIGITS])}", build) is not None,
            f"has wheel digest {digest[:BUILD_DIGITS]}, the file name's build tag is '{build or 'missing'}'",
        ),
        (built_for(python, tags), f"is for {python}, the file name says {spelled}"),
        (
            passport["build"] == cell or passport["build"].startswith(f"{cell}-"),
            f"names build {passport['build']}, which is not the cell {cell}-...",
        ),
        (
            all(tag.platform.endswith("_aarch64") for tag in tags),
            "stands in a wheel for another platform than aarch64",
        ),
    ]
    return [fault for agrees, fault in checks if not agrees]
