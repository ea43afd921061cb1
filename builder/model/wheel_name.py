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
PARTS = 5  # of a file name without build tag and without label
PLAIN = "generic"  # the target of the plain wheel, beside which variants stand


def local_version(target: str, backend: str | None) -> str:
    """The local version (:pep:`440`): the target, then the backend unless it is the default one (``None``)."""
    parts = [target] if backend is None else [target, backend]
    return ".".join(parts).replace("-", ".")


def build_tag(build_number: int, wheel_digest: str) -> str:
    """The build number and the first eight digits of the wheel digest."""
    return f"{build_number}_{wheel_digest[:BUILD_DIGITS]}"


def split_label(filename: str) -> tuple[str, str]:
    """The file name without its variant label (:pep:`825`), and the label; ``""`` where it has none.

    A third part that begins with a digit is a build tag (:pep:`427`), since no Python tag does.
    """
    parts = filename.removesuffix(".whl").split("-")
    built = len(parts) > PARTS and parts[2][:1].isdigit()
    if len(parts) != PARTS + built + 1 or not parts[-1]:
        return filename, ""
    return f"{'-'.join(parts[:-1])}.whl", parts[-1]


def disagreements(
    passport: Mapping[str, Any],
    *,
    project: str,
    version: str,
    build: str,
    tags: Collection[Tag],
    label: str = "",
) -> list[str]:
    """How a passport, valid by its schema, differs from the parts of the file name; empty where they agree."""
    try:
        public = Version(passport["version"])
    except InvalidVersion:
        return [f"version {passport['version']!r} is not a version (PEP 440)"]
    named = Version(version)
    target, python, digest = passport["target"], passport["python"], passport["digests"]["wheel"]
    variant = passport.get("variant", {}).get("label", "")
    # A variant has the version of the plain wheel: an installer chooses among the wheels of one version.
    local = local_version(
        PLAIN if variant else target, None if passport["default_backend"] else passport["backend"]
    )
    cell = f"{project}-{passport['version']}-{python}-{target}"
    spelled = ", ".join(sorted({f"{tag.interpreter}-{tag.abi}" for tag in tags}))
    checks = [
        (label == variant, f"has the label '{variant}', the file name says '{label}'"),
        (not variant or passport["default_backend"], "is a variant without the recipe's default backend"),
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
