"""The passport of a wheel, ``*.dist-info/armwheels.json``; its JSON Schema is in ``configs``."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from builder.errors import RepairError
from builder.model.build import Build
from builder.repair.grafts import package_of
from builder.settings import configs_dir
from builder.source import origin
from builder.toolbox.toolbox import Toolbox


def _dependencies(build: Build, toolbox: Toolbox) -> list[dict[str, str | bool]]:
    """The libraries of a backend; ``prebuilt`` if their machine code was compiled elsewhere."""
    found = [(d.name, d.version, d.sha256, True) for d in build.dependencies]
    for static in build.relinked:
        pinned = package_of(static, toolbox)
        found.append((pinned.name, pinned.version, pinned.sha256, True))
    found += [(one.name, one.version, origin(one.source)[1], False) for one in build.built]
    return [dict(zip(("name", "version", "sha256", "prebuilt"), each, strict=True)) for each in found]


def make_passport(build: Build, observed: tuple[str, ...], toolbox: Toolbox) -> dict[str, Any]:
    """The content of the passport, checked against ``configs/passport.schema.json``.

    Raises:
        RepairError: it is not valid.
    """
    kind_origin, kind_sha256 = origin(build.source)
    passport: dict[str, Any] = {
        "schema": 1,
        "build": build.id,
        "recipe": build.recipe.name,
        "version": build.version,
        "python": build.python,
        "target": build.target,
        "backend": build.backend,
        "default_backend": build.default_backend,
        "compiler": {"name": build.compiler, "version": build.compiler_version},
        "flags": list(build.flags),
        "flags_observed": list(observed),
        "source": {"kind": build.source.source.kind, "origin": kind_origin, "sha256": kind_sha256},
        "dependencies": _dependencies(build, toolbox),
        "toolchain": [
            {"name": file.name, "version": file.version, "sha256": file.sha256}
            for part in build.compile_inputs["toolchain"]
            for file in toolbox.pins.files(part)
        ],
        "glibc_floor": build.recipe.build.glibc,
        "digests": {"compile": build.compile_digest, "wheel": build.wheel_digest},
        "source_date_epoch": build.source.epoch,
    }
    if framework := build.framework:
        passport["extends"] = framework.model_dump(mode="json", include={"name", "version", "sha256"})
    if build.licensed:
        passport["licensed"] = build.licensed
    schema = json.loads((configs_dir() / "passport.schema.json").read_text(encoding="utf-8"))
    faults = [fault.message for fault in jsonschema.Draft202012Validator(schema).iter_errors(passport)]
    if faults:
        raise RepairError("the passport is not valid: " + "; ".join(faults))
    return passport
