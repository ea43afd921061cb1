"""Whether a wheel's passport agrees with its file name. Pure.

The builder's audit has the same rule; ``tests/unit/test_configs_both.py`` holds both to one table of cases.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from packaging.tags import Tag, cpython_tags
from packaging.version import InvalidVersion, Version

from index_server.names import WheelName
from index_server.targets import GENERIC, Targets

BUILD_DIGITS = 8  # of the wheel digest, in the build tag


def disagreements(passport: Mapping[str, Any], name: WheelName, targets: Targets) -> list[str]:
    """Why a wheel with this passport, valid by its schema, is refused; empty where it agrees with the file name."""
    try:
        version = Version(passport["version"])
    except InvalidVersion:
        return [f"version {passport['version']!a} is not a version (PEP 440)"]
    target, python = passport["target"], passport["python"]
    label = passport.get("variant", {}).get("label", "")
    # A variant has the version of the plain wheel: an installer chooses among the wheels of one version.
    named = GENERIC if label else target
    full = _full_version(version, named, None if passport["default_backend"] else passport["backend"])
    build = f"{name.project}-{passport['version']}-{python}-{target}"
    suffix = "_" + passport["digests"]["wheel"][:BUILD_DIGITS]
    checks = [
        (
            "licensed" not in passport,
            "holds a library licensed to its builder alone; it is never published",
        ),
        (target in targets.by_name, f"target {target} is not one of this index"),
        (version.local is None, "version has a local part; only the file name may have one"),
        (name.label == label, f"the file name has the label {name.label!r}, and the passport {label!r}"),
        (
            not label or passport["default_backend"],
            "is a variant, which has the recipe's default backend alone",
        ),
        (name.version == full, f"the file name says version {name.version}, and the passport means {full}"),
        (
            taken_by(python, name.tags),
            f"the file name says {name.python_tag}-{name.abi_tag}, and the passport {python}",
        ),
        (
            re.fullmatch("[0-9]+" + re.escape(suffix), name.build_tag) is not None,
            f"the build tag is {name.build_tag!r}; the wheel digest asks for a number and {suffix!r}",
        ),
        (
            passport["build"] == build or passport["build"].startswith(build + "-"),
            f"build {passport['build']} is not the cell of this project, version, Python and target ({build}-...)",
        ),
        (
            all(tag.platform.endswith("_aarch64") for tag in name.tags),
            f"the platform {name.platform_tag} is not aarch64",
        ),
    ]
    return [reason for agrees, reason in checks if not agrees]


def taken_by(python: str, tags: Collection[Tag]) -> bool:
    """Whether a CPython such as ``cp313`` or ``cp313t`` takes each of these tags (PEP 425), whatever the platform.

    Its own ABI, no ABI, and for builds with a GIL the stable ABI of its version or an earlier one (PEP 384).
    """
    return all((tag.interpreter, tag.abi) in _accepted(python) for tag in tags)


@lru_cache(maxsize=64)
def _accepted(python: str) -> frozenset[tuple[str, str]]:
    match = re.fullmatch(r"cp3([0-9]{1,2})t?", python)
    if match is None:
        return frozenset()
    tags = cpython_tags((3, int(match[1])), [python], ["any"])
    return frozenset((tag.interpreter, tag.abi) for tag in tags)


def _full_version(version: Version, target: str, backend: str | None) -> Version:
    """The version with the local part that names target and backend, as the file name has it."""
    local = target if backend is None else f"{target}.{backend}"
    return Version(f"{version.public}+{local.replace('-', '.')}")
