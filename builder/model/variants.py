"""Wheel variants (PEP 825 and 850, drafts): labels, what each guarantees, and the JSON inside such a wheel. Pure.

An installer compares the label with the CPU through a provider. uv 0.13.9 has one for Arm, which knows the property
``aarch64 :: version`` alone. A label guarantees the features that this provider looks for in ``AT_HWCAP`` before it
takes a wheel, and no others. The index server has the same documents; ``tests/unit/test_configs_both.py`` compares
them.

Sources: :pep:`825`, "Variant label" and "Variant metadata"; :pep:`850`, "Providers"; for the features,
``scripts/uv_provider.py``, which asks uv.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

SCHEMA = "https://variants-schema.wheelnext.dev/peps/850/v0.2.0.json"
NAMESPACE = "aarch64"
PROVIDER = "aarch64-variant-provider"

_ADDED: Mapping[str, tuple[str, str]] = {
    # value: features that it adds to the value before, by Linux's names; LLVM's names of them
    "8.1a": ("asimdrdm atomics crc32", "crc lse rdm"),
    "8.2a": ("dcpop", "ccpp"),
    "8.3a": ("fcma jscvt lrcpc paca pacg", "complxnum jsconv pauth rcpc"),
    "8.4a": (
        "asimddp asimdfhm asimdhp dit flagm fphp ilrcpc uscat",
        "dit dotprod flagm fp16fml fullfp16 lse2 rcpc-immo",
    ),
}


def label_of(value: str) -> str:
    """The label of a value of ``aarch64 :: version``: ``armv8.2a`` of ``8.2a``."""
    return f"armv{value}"


VALUES: Mapping[str, str] = MappingProxyType({label_of(value): value for value in _ADDED})
"""The value of ``aarch64 :: version`` of each label, the least demanding label first."""


def guaranteed(label: str) -> frozenset[str]:
    """The features, by Linux's names, of every CPU whose owner gets a wheel of this label.

    Raises:
        KeyError: there is no such label.
    """
    return frozenset(("asimd", "fp", *(name for linux, _ in _up_to(label) for name in linux.split())))


def attributes(label: str) -> tuple[str, ...]:
    """The same features as LLVM spells them, beyond its CPU ``generic``.

    Raises:
        KeyError: there is no such label.
    """
    return tuple(f"+{name}" for _, llvm in _up_to(label) for name in llvm.split())


def document(label: str) -> bytes:
    """``variant.json`` of a wheel with this label.

    Raises:
        KeyError: there is no such label.
    """
    data = {
        "$schema": SCHEMA,
        "default-priorities": {"namespace": [NAMESPACE]},
        "providers": {NAMESPACE: {"requires": [PROVIDER]}},
        "variants": {label: {NAMESPACE: {"version": [VALUES[label]]}}},
    }
    return (json.dumps(data, indent=2, sort_keys=True) + "\n").encode()


def _up_to(label: str) -> list[tuple[str, str]]:
    labels = list(VALUES)
    if label not in VALUES:
        raise KeyError(label)
    return list(_ADDED.values())[: labels.index(label) + 1]
