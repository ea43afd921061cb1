"""The CycloneDX document of an image: its Debian packages and its wheels."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from builder.images.wheels import Chosen
from builder.toolbox.pins import PinnedFile


def make_sbom(
    name: str,
    key: str,
    created: str,
    packages: Sequence[PinnedFile],
    wheels: Sequence[Chosen],
    annotations: Mapping[str, str],
) -> str:
    """A CycloneDX document; the same ``key`` gives the same serial number. Pure."""
    image = Component(
        type=ComponentType.CONTAINER,
        name=name,
        bom_ref="image",
        properties=[Property(name=one, value=value) for one, value in sorted(annotations.items())],
    )
    components = [
        _component(
            PackageURL("deb", "debian", one.name, one.version, qualifiers={"arch": "arm64"}), one.sha256
        )
        for one in packages
    ]
    components += [
        _component(PackageURL("pypi", None, one.project, one.version), one.sha256) for one in wheels
    ]
    bom = Bom(
        components=components,
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"armwheels:image:{key}"),
        dependencies=[
            Dependency(ref=image.bom_ref, dependencies=[Dependency(ref=one.bom_ref) for one in components]),
            *(Dependency(ref=one.bom_ref) for one in components),
        ],
    )
    bom.metadata.timestamp = datetime.fromisoformat(created)
    bom.metadata.component = image
    return str(JsonV1Dot6(bom).output_as_string(indent=1))


def _component(purl: PackageURL, sha256: str) -> Component:
    return Component(
        type=ComponentType.LIBRARY,
        name=purl.name,
        version=purl.version,
        purl=purl,
        bom_ref=purl.to_string(),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
    )
