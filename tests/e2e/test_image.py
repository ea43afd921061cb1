"""An image of a real wheel: pushed to a registry, pulled from it, and run on an emulated CPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from builder.images.layout import MANIFEST_TYPE
from builder.toolbox.toolbox import Toolbox
from tests.helpers.places import BIN, Place, Served, make_place
from tests.helpers.registries import LOGIN, registry

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Pushed:
    place: Place
    at: str
    snapshot: str
    output: str
    environment: dict[str, str]

    @property
    def digest(self) -> str:
        return digest_in(self.output)

    def manifest(self, tag: str) -> httpx2.Response:
        name = self.at.partition("/")
        user, _, password = LOGIN.partition(":")
        return httpx2.get(
            f"http://{name[0]}/v2/{name[2]}/manifests/{tag}",
            auth=(user, password),
            headers={"Accept": MANIFEST_TYPE},
        )


def digest_in(output: str) -> str:
    [digest] = re.findall(r"sha256:[0-9a-f]{64}", output)
    return str(digest)


@pytest.fixture(scope="module")
def pushed(served: Served, toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    folder = tmp_path_factory.mktemp("image")
    with registry(folder / "registry", toolbox) as host:
        place = make_place(folder / "place", toolbox)
        environment = {"ARMWHEELS_INDEX": served.url, "ARMWHEELS_REGISTRY_LOGIN": LOGIN}
        command = ("armwheels", "image", "msgpack", "--target", "graviton3", "--push", f"{host}/team/msgpack")
        done = place.run(*command, extra=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        [snapshot] = served.place.snapshots()
        yield Pushed(place, f"{host}/team/msgpack", snapshot["id"], done.stdout, environment)


def test_the_recipes_tests_passed_in_it(pushed: Pushed) -> None:
    assert "the recipes' tests pass in the image on an emulated neoverse-v1" in pushed.output


def test_both_tags_name_the_digest(pushed: Pushed) -> None:
    for tag in (f"{pushed.snapshot}-neoverse-v1", "nightly-neoverse-v1"):
        answer = pushed.manifest(tag)
        assert answer.headers["docker-content-digest"] == pushed.digest
    said = answer.json()["annotations"]
    assert said["armwheels.snapshot"] == said["org.opencontainers.image.version"] == pushed.snapshot
    assert said["armwheels.target"] == "neoverse-v1"
    assert re.fullmatch("sha256:[0-9a-f]{64}", said["armwheels.source.msgpack"])


def test_another_folder_gives_the_same_digest(pushed: Pushed, toolbox: Toolbox, tmp_path: Path) -> None:
    other = make_place(tmp_path / "a longer path".replace(" ", "-"), toolbox)
    command = ("armwheels", "image", "msgpack", "--target", "neoverse-v1", "--no-try", "--output", "made")
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        env={**other.environment, **pushed.environment, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"},
        cwd=tmp_path,
        umask=0o077,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert digest_in(done.stdout) == pushed.digest
    made = tmp_path / "made" / f"{pushed.snapshot}-neoverse-v1"
    assert {path.name for path in made.iterdir()} == {
        "Containerfile",
        "layout",
        "requirements.txt",
        "sbom.cdx.json",
    }
    sbom = json.loads((made / "sbom.cdx.json").read_text())
    assert {"pkg:pypi/msgpack@1.2.4%2Bneoverse.v1", "libc6"} <= {
        component["purl"] if "pypi" in component["purl"] else component["name"]
        for component in sbom["components"]
    }


def test_a_channel_that_moves_takes_its_tag_along_and_sends_nothing(pushed: Pushed) -> None:
    done = pushed.place.run(
        *("armwheels", "image", "msgpack", "--no-try", "--target", "neoverse-v1", "--push", pushed.at),
        extra=pushed.environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pushed 0.0 MB" in done.stdout
    old = pushed.place.run(
        *("armwheels", "image", "msgpack", "--no-try", "--target", "neoverse-v1", "--push", pushed.at),
        *("--snapshot", pushed.snapshot),
        extra=pushed.environment,
    )
    assert old.stdout.rstrip().endswith(f": {pushed.snapshot}-neoverse-v1")


def test_it_is_pulled_again_and_runs_on_the_emulated_cpu(
    pushed: Pushed, toolbox: Toolbox, tmp_path: Path
) -> None:
    other = make_place(tmp_path / "other", toolbox)
    code = (
        "import msgpack, msgpack._cmsgpack, platform, sys; "
        "print(platform.machine(), sys.prefix, msgpack._cmsgpack.__file__, msgpack.packb([1]))"
    )
    command = ("armwheels", "python", "--image", f"{pushed.at}:nightly-neoverse-v1", "--", "-c", code)
    done = other.run(*command, extra=pushed.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    machine, prefix, module, packed = done.stdout.split(maxsplit=3)
    assert (machine, packed) == ("aarch64", "b'\\x91\\x01'\n")
    assert prefix.startswith(str(other.home / "tmp/image-"))
    assert module.startswith(f"{prefix}/local/lib/python3.11/dist-packages/msgpack/_cmsgpack")
    assert not os.listdir(other.home / "tmp")  # noqa: PTH208
    refused = other.run(*command, extra={**pushed.environment, "ARMWHEELS_REGISTRY_LOGIN": "tests:wrong"})
    assert refused.returncode == 10
    assert "ARMWHEELS_REGISTRY_LOGIN" in refused.stderr


def test_what_the_snapshot_lacks_is_said(pushed: Pushed) -> None:
    command = ("armwheels", "image", "msgpack", "numpy", "--target", "neoverse-v1", "--no-try")
    done = pushed.place.run(*command, extra=pushed.environment)
    assert done.returncode == 10
    assert "numpy was not found" in done.stderr
    assert "armwheels-index mirror" in done.stderr
