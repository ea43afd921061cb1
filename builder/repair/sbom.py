"""The CycloneDX document of a wheel (:pep:`770`)."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from builder.model.build import Build
from builder.repair.grafts import Graft
from builder.whole import sha256_of


def make_sbom(build: Build, root: Path, grafts: dict[str, Graft]) -> str:
    """A CycloneDX document of the wheel and of each grafted file, with its origin and its licence."""
    moment = datetime.fromtimestamp(build.source.epoch, tz=UTC)
    wheel = Component(
        type=ComponentType.LIBRARY,
        name=build.recipe.project,
        version=build.full_version,
        purl=PackageURL(type="pypi", name=build.recipe.project, version=build.full_version),
        bom_ref=build.id,
    )
    components = []
    for path, graft in grafts.items():
        components.append(
            Component(
                type=ComponentType.LIBRARY,
                name=graft.name,
                version=graft.version,
                purl=graft.purl,
                bom_ref=path,
                licenses=[LicenseExpression(graft.licence)],
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256_of(root / path))],
                properties=[
                    Property(name="armwheels:file", value=path),
                    Property(name="armwheels:from-sha256", value=graft.sha256),
                ],
            )
        )
    bom = Bom(
        components=components,
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"armwheels:{build.wheel_digest}"),
        dependencies=[
            Dependency(ref=wheel.bom_ref, dependencies=[Dependency(ref=c.bom_ref) for c in components]),
            *(Dependency(ref=c.bom_ref) for c in components),
        ],
    )
    bom.metadata.timestamp = moment
    bom.metadata.component = wheel
    return str(JsonV1Dot6(bom).output_as_string(indent=1))
