"""Makes a wheel variant (PEP 825) from a tuned wheel: the same code under the version of the plain wheel.

An installer chooses among the wheels of one version, local part included. So a variant has the version of the plain
wheel, ``+generic``. Label, ``variant.json``, digest and build tag are its own; all else is the tuned wheel's. The
same tuned wheel gives the same bytes.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from auditwheel.wheeltools import InWheelCtx
from packageurl import PackageURL
from packaging.version import Version

from builder.audit import open_wheel
from builder.child import Report, call_in_child
from builder.digests import digest
from builder.errors import RepairError
from builder.model.variants import document
from builder.model.wheel_name import build_tag, local_version
from builder.repair.marks import PASSPORT, SBOM, rename_info, settle_modes
from builder.repair.repair import repair_tools
from builder.targets import GENERIC
from builder.whole import create_once

VARIANT_VERSION = 1
"""Raise this by hand when other bytes are made from the same wheel. It enters the digest of the variant."""


def make_variant(wheel: Path, label: str, out: Path, report: Report) -> Path:
    """Make the variant of ``wheel`` with this label in the folder ``out``; returns its path.

    Whether the wheel holds to the label is not judged here: :func:`builder.audit.variant.fitting_label`.

    Raises:
        RepairError: the wheel has no passport, a label already, or another backend than the recipe's default one.
        AuditError: the wheel cannot be read.
    """
    opened = open_wheel(wheel)
    passport = opened.passport
    if passport is None:
        raise RepairError(f"{wheel.name} has no passport: another project built it")
    if opened.label or "variant" in passport:
        raise RepairError(f"{wheel.name} is a variant already")
    if passport["target"] == GENERIC:
        raise RepairError(f"{wheel.name} is the plain wheel, which variants stand beside")
    if not passport["default_backend"]:
        raise RepairError(f"{wheel.name} has the backend {passport['backend']}; a label cannot name it")
    return call_in_child(
        partial(_make, wheel.absolute(), label, out.absolute()),
        report=report,
        failure=RepairError,
        variables={
            "SOURCE_DATE_EPOCH": str(passport["source_date_epoch"])
        },  # the date of the archive's members
    )


def _make(wheel: Path, label: str, out: Path, report: Report) -> Path:  # noqa: ARG001 - it takes a moment
    opened = open_wheel(wheel)
    passport = dict(opened.passport or {})
    before = passport["digests"]["wheel"]
    own = digest({"of": before, "label": label, "version": VARIANT_VERSION, "tools": repair_tools()})
    passport["digests"] = {**passport["digests"], "wheel": own}
    passport["variant"] = {"label": label, "of": before}
    full = f"{Version(opened.version).public}+{local_version(GENERIC, None)}"
    tag = build_tag(int(opened.build.partition("_")[0]), own)
    project = opened.dist_info.partition("-")[0]
    tags = "-".join(wheel.name.removesuffix(".whl").split("-")[-3:])
    final = out / f"{project}-{full}-{tag}-{tags}-{label}.whl"

    def write(path: Path) -> None:
        with InWheelCtx(wheel, path) as inside:
            root = Path(inside.path)
            info = rename_info(root, project, full, tag)
            (info / PASSPORT).write_text(
                json.dumps(passport, indent=1, sort_keys=True) + "\n", encoding="utf-8"
            )
            (info / "variant.json").write_bytes(document(label))
            _rename_in_sbom(info / SBOM, full)
            settle_modes(root)

    out.mkdir(parents=True, exist_ok=True)
    return create_once(final, write)


def _rename_in_sbom(path: Path, version: str) -> None:
    """Let the bill of materials describe the wheel by the version that it has now."""
    if not path.is_file():
        return
    bill = json.loads(path.read_text(encoding="utf-8"))
    component = bill["metadata"]["component"]
    component["version"] = version
    component["purl"] = PackageURL(type="pypi", name=component["name"], version=version).to_string()
    path.write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
