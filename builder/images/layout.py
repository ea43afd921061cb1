"""An image on disk (OCI image-spec 1.1): its configuration, its manifest, and the folder that holds them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from builder.images.layers import Layer
from builder.model.base import Frozen, Sha256

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+zstd"

_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_PLATFORM = {"architecture": "arm64", "os": "linux", "variant": "v8"}


class _Document(Frozen):
    """Base of the documents of an image; other keys than ours are allowed and ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Descriptor(_Document):
    """A blob: its type, digest and size (image-spec, "OCI Content Descriptors")."""

    mediaType: str  # noqa: N815  # as the specification spells it
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    size: int

    @property
    def sha256(self) -> Sha256:
        return self.digest.removeprefix("sha256:")

    @property
    def blob(self) -> str:
        """Its path in a layout."""
        return f"blobs/sha256/{self.sha256}"

    def written(self) -> dict[str, Any]:
        return self.model_dump()


class Manifest(_Document):
    """An image of one platform: its configuration, its layers, the lowest first, and what is said of it."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = Field(default_factory=dict)


def write_image(
    folder: Path,
    layers: Sequence[Layer],
    run: Mapping[str, Any],
    annotations: Mapping[str, str],
    *,
    created: str,
    tag: str,
) -> Descriptor:
    """Write an image layout to ``folder``; returns the descriptor of the manifest.

    ``run`` is what an engine starts (image-spec, "Image Configuration", ``config``), ``created`` a moment of
    RFC 3339.
    """
    (folder / "blobs/sha256").mkdir(parents=True)
    for layer in layers:
        # By a link, since a layer of PyTorch is large.
        os.link(layer.path, folder / "blobs/sha256" / layer.sha256)
    config = _write(
        folder,
        CONFIG_TYPE,
        {
            "created": created,
            **_PLATFORM,
            "config": {**run, "Labels": dict(annotations)},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.diff_id}" for layer in layers]},
            "history": [{"created": created, "created_by": layer.about} for layer in layers],
        },
    )
    described = [
        Descriptor(mediaType=LAYER_TYPE, digest=f"sha256:{layer.sha256}", size=layer.size) for layer in layers
    ]
    manifest = _write(
        folder,
        MANIFEST_TYPE,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config.written(),
            "layers": [layer.written() for layer in described],
            "annotations": dict(annotations),
        },
    )
    index = {
        "schemaVersion": 2,
        "mediaType": _INDEX_TYPE,
        "manifests": [
            {
                **manifest.written(),
                "platform": _PLATFORM,
                "annotations": {"org.opencontainers.image.ref.name": tag},
            }
        ],
    }
    (folder / "index.json").write_bytes(_as_json(index))
    (folder / "oci-layout").write_bytes(_as_json({"imageLayoutVersion": "1.0.0"}))
    return manifest


def read_image(folder: Path) -> Descriptor:
    """The descriptor of the manifest in a layout of :func:`write_image`."""
    [manifest] = json.loads((folder / "index.json").read_bytes())["manifests"]
    return Descriptor.model_validate(manifest)


def read_manifest(folder: Path, manifest: Descriptor) -> Manifest:
    """The manifest of an image in a layout."""
    return Manifest.model_validate_json((folder / manifest.blob).read_bytes())


def _write(folder: Path, media_type: str, document: Mapping[str, Any]) -> Descriptor:
    content = _as_json(document)
    sha256 = hashlib.sha256(content).hexdigest()
    (folder / "blobs/sha256" / sha256).write_bytes(content)
    return Descriptor(mediaType=media_type, digest=f"sha256:{sha256}", size=len(content))


def _as_json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
