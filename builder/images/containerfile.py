"""The recipe of an image for people who build their own: the same wheels, by the same hashes, over any base."""

from __future__ import annotations

from collections.abc import Mapping

_TEXT = """\
# {title}: the wheels of snapshot {snapshot}, over a base of your choice. Edit it as you like.
#
#   podman build --platform linux/arm64 --build-arg INDEX=URL-OF-THE-INDEX .
#
# pip installs exactly the files that requirements.txt names by their hashes.
ARG BASE=python:{version}-slim-{suite}
FROM ${{BASE}}
ARG INDEX
COPY requirements.txt /usr/share/armwheels/requirements.txt
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: \\
    --index-url "${{INDEX}}/snapshots/{snapshot}/{target}/simple/" -r /usr/share/armwheels/requirements.txt
COPY sbom.cdx.json /usr/share/armwheels/sbom.cdx.json
{labels}
USER {user}:{user}
ENTRYPOINT ["python3"]
"""


def containerfile(
    snapshot: str, target: str, version: str, suite: str, user: int, labels: Mapping[str, str]
) -> str:
    """The text of a Containerfile (containers-common, Containerfile(5)); ``version`` is such as ``3.13``. Pure."""
    lines = [f"LABEL {key}={_quoted(value)}" for key, value in sorted(labels.items())]
    return _TEXT.format(
        title=labels["org.opencontainers.image.title"],
        snapshot=snapshot,
        target=target,
        version=version,
        suite=suite,
        user=user,
        labels="\n".join(lines),
    )


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
