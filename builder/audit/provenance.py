"""Checks of a wheel's passport, and of the licences of grafted libraries.

Our repair step writes ``*.dist-info/sboms/armwheels.cdx.json`` (CycloneDX, PEP 770). It has a component for every
file in ``*.libs/``. The component has the property ``armwheels:file``, which is the file's path in the wheel, and
at least one licence. The licence text is in ``*.dist-info/licenses/<component name>/``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jsonschema

from builder.audit.archive import WheelFile
from builder.audit.verdicts import Verdict, counted, failed, not_applicable, passed
from builder.errors import AuditError
from builder.model.variants import document
from builder.model.wheel_name import disagreements
from builder.targets import Target

FILE_PROPERTY = "armwheels:file"


def check_licences(wheel: WheelFile) -> Verdict:
    """Check that every grafted library has a licence in the bill of materials, and a licence text in the wheel."""
    check = "licences"
    if not wheel.grafts:
        return not_applicable(check, "no grafted libraries")
    if wheel.passport is None:
        return not_applicable(
            check,
            f"{counted(len(wheel.grafts), 'file')} grafted by another project, without proof of licences",
        )
    try:
        components = _components(wheel)
    except AuditError as error:
        return failed(check, str(error))
    faults = [fault for name in wheel.grafts if (fault := _graft_fault(wheel, name, components.get(name)))]
    data = {"grafts": list(wheel.grafts), "faults": faults}
    if faults:
        return failed(check, "\n".join(faults), **data)
    return passed(check, f"complete for {counted(len(wheel.grafts), 'grafted file')}", **data)


def check_passport(wheel: WheelFile, target: Target, schema: Mapping[str, Any]) -> Verdict:
    """Check the passport by its schema and against the file name. Its target must be ``target`` or one below it.

    A wheel variant must have the ``variant.json`` of its label instead.
    """
    check = "passport"
    passport = wheel.passport
    if passport is None:
        return not_applicable(check, "none: another project built it")
    validator = jsonschema.Draft202012Validator(schema)
    faults = [
        f"{'.'.join(str(part) for part in error.absolute_path) or 'passport'}: {error.message}"
        for error in sorted(
            validator.iter_errors(passport), key=lambda error: list(map(str, error.absolute_path))
        )
    ]
    if not faults:
        faults = disagreements(
            passport,
            project=wheel.project,
            version=wheel.version,
            build=wheel.build,
            tags=wheel.tags,
            label=wheel.label,
        )
        if wheel.label:  # held to its label, which is no target
            faults += _variant_faults(wheel)
        elif passport["target"] != target.name and passport["target"] not in target.below:
            faults.append(f"is for {passport['target']}, whose wheels do not run on every {target}")
        if wheel.sbom not in wheel.names:
            faults.append(f"its bill of materials {wheel.sbom} is missing")
    if faults:
        return failed(check, "\n".join(faults), faults=faults)
    return passed(check, f"{passport['build']}, agrees with the file name", build=passport["build"])


def _variant_faults(wheel: WheelFile) -> list[str]:
    """Why ``variant.json`` (PEP 825) is not the one of the label in the file name."""
    name = f"{wheel.dist_info}/variant.json"
    if name not in wheel.names:
        return [f"{name} is missing"]
    return [] if wheel.read(name) == document(wheel.label) else [f"{name} is not that of {wheel.label}"]


def _components(wheel: WheelFile) -> dict[str, dict[str, Any]]:
    """Return the components of the bill of materials, by the file that each describes.

    Raises:
        AuditError: the bill of materials is missing or malformed.
    """
    if wheel.sbom not in wheel.names:
        raise AuditError(f"the wheel has grafted libraries, but no {wheel.sbom}")
    try:
        bill = json.loads(wheel.read(wheel.sbom))
        return {
            entry["value"]: component
            for component in bill["components"]
            for entry in component.get("properties", [])
            if entry["name"] == FILE_PROPERTY
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AuditError(f"{wheel.sbom} is not a CycloneDX document: {error}") from error


def _graft_fault(wheel: WheelFile, name: str, component: Mapping[str, Any] | None) -> str | None:
    if component is None:
        return f"{name}: the bill of materials has no component for it"
    if not component.get("licenses"):
        return f"{name}: its component '{component.get('name')}' has no licence"
    folder = f"{wheel.dist_info}/licenses/{component.get('name')}/"
    if not any(member.startswith(folder) and not member.endswith("/") for member in wheel.names):
        return f"{name}: no licence text under {folder}"
    return None
