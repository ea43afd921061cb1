"""Wheel variants (PEP 825): from one URL, uv takes what each emulated CPU runs, and pip the plain wheel."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from builder.commands.project import Project
from builder.cpus import load_targets
from builder.emulation.emulate import stand_in
from builder.emulation.environment import EmulatedPython
from builder.model.variants import VALUES
from builder.toolbox.toolbox import Toolbox
from scripts.uv_provider import Asker, agrees, by_part, index, looked_for
from tests.helpers.places import BIN, Place, make_place
from tests.helpers.servers import Server, clean_environment, start, stop
from tests.helpers.wheels import tuned_wheel, variant_wheel

pytestmark = pytest.mark.slow

RUN = "import msgpack._cmsgpack as m; assert m.unpackb(m.Packer().pack([1, 'a'])) == [1, 'a']"
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
MATRIX = """
[three]
description = "three targets"
[[three.cells]]
recipe = "msgpack"
versions = ["1.2.4"]
pythons = ["cp311"]
targets = ["generic", "neoverse-n1", "neoverse-v1"]
backends = ["none"]
required = true
"""
PREVIEW = ("--preview-features", "wheel-variants")
CHOSEN = {
    "generic": "",  # Cortex-A57
    "thunderx2": "armv8.1a",
    "a64fx": "armv8.2a",  # SVE, which no label promises
    "neoverse-n1": "armv8.2a",  # its dot product, half precision and RCPC are not promised
    "neoverse-n2": "armv8.3a",  # as Azure shows it, without DIT
    "neoverse-v1": "armv8.4a",
    "ampere1": "armv8.4a",  # no SVE
    "neoverse-v2": "armv8.4a",
}
"""The label that uv takes on the stand-in for each target's server, of a version that has them all."""


class Machine:
    """The stand-in for a target's server, with uv's own aarch64 program and a Python that uv can start."""

    def __init__(self, toolbox: Toolbox, name: str, folder: Path, uv: Path) -> None:
        self.python = EmulatedPython.standing_in(toolbox, "cp311", stand_in(load_targets()[name]))
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        command = self.python.command([])
        self.uv = [*command[:-1], str(uv)]
        self.program = self.folder / "python3"  # uv asks it for the CPU, as it asks every Python
        self.program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        self.program.chmod(0o755)
        self.environment = clean_environment(self.folder)

    def install(self, url: str, project: str, into: str, *options: str) -> Path:
        """Install a project with uv, and return the folder."""
        site = self.folder / into
        done = subprocess.run(
            [
                *(*self.uv, "pip", "install", *options, "--index-url", url, "--no-deps"),
                *("--python", str(self.program), "--target", str(site), project),
            ],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return site

    def download_by_pip(self, url: str, project: str) -> str:
        """The name of the file that the emulated pip chooses."""
        into = self.folder / "pip"
        done = self.python.run(
            ["-m", "pip", "download", "--no-deps", "--index-url", url, "--dest", str(into), project],
            extra={"PIP_CONFIG_FILE": "/dev/null", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )
        assert done.returncode == 0, done.stderr
        [file] = into.iterdir()
        return file.name


@pytest.fixture(scope="module")
def uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uv as released for aarch64, of the version that this project pins."""
    folder = tmp_path_factory.mktemp("uv")
    version = subprocess.run(
        [BIN / "uv", "--version"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--platform", "manylinux_2_28_aarch64", "--dest", str(folder), f"uv=={version}"]
    subprocess.run(command, check=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [each for each in archive.namelist() if each.endswith("/scripts/uv")]
        program = Path(archive.extract(name, folder))
    program.chmod(0o755)
    return program


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(tmp_path_factory.mktemp("index"), ARMWHEELS_VARIANTS="on")
    yield running
    stop(running)


def test_labels_promise_what_the_provider_looks_for(toolbox: Toolbox, tmp_path: Path) -> None:
    targets = load_targets()
    with index(tmp_path) as url:
        asker = Asker(toolbox, targets, tmp_path, url)
        assert agrees(looked_for(asker))
        taken = by_part(asker, targets)
        for name, label in CHOSEN.items():
            value = label.removeprefix("armv") or "8a"
            assert taken[name, targets[name].server.part][0] == value, name


def label_of(site: Path) -> str:
    """The label of the variant that was installed; empty for the plain wheel."""
    [info] = site.glob("*.dist-info")
    if not (info / "variant.json").is_file():
        return ""
    [label] = json.loads((info / "variant.json").read_text())["variants"]
    return str(label)


def test_from_one_url_uv_takes_the_best_label_and_pip_the_plain_wheel(
    toolbox: Toolbox, server: Server, uv: Path, tmp_path: Path
) -> None:
    plain = tuned_wheel(target="generic")
    session = "v" * 22
    wheels = [plain, tuned_wheel(target="neoverse-n1"), tuned_wheel(target="neoverse-v1")]
    wheels += [
        variant_wheel(label, target="neoverse-n1")
        for label in ("armv8.1a", "armv8.2a", "armv8.3a", "armv8.4a")
    ]
    for name, data in wheels:
        assert server.upload(session, name, data).status_code == 200
    snapshot = server.publish(session)
    machines = {name: Machine(toolbox, name, tmp_path, uv) for name in CHOSEN}
    for place in ("nightly", f"snapshots/{snapshot}"):
        url = f"{server.url}/{place}/variants/simple/"
        chosen = {
            name: label_of(each.install(url, "demo", place[:4], *PREVIEW)) for name, each in machines.items()
        }
        assert chosen == CHOSEN
    url = f"{server.url}/nightly/variants/simple/"
    assert machines["neoverse-v1"].download_by_pip(url, "demo") == plain[0]
    without_preview = machines["neoverse-v1"].install(url, "demo", "plain")
    assert label_of(without_preview) == ""


def test_locks_live(toolbox: Toolbox, server: Server, uv: Path, tmp_path: Path) -> None:
    """uv.lock has the plain wheel alone, pins with hashes have the variant; both outlive the channel's move."""
    facts = {"recipe": "locked", "target": "neoverse-n1"}
    plain = tuned_wheel(recipe="locked", target="generic", wheel_digest="7" * 64)
    first, newer = variant_wheel("armv8.2a", **facts), variant_wheel("armv8.2a", salt="newer", **facts)
    for name, data in (plain, first):
        assert server.upload("l" * 22, name, data).status_code == 200
    snapshot = server.publish("l" * 22, key="key-lock")
    machine = Machine(toolbox, "neoverse-n1", tmp_path, uv)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "user"\nversion = "1"\nrequires-python = "==3.11.*"\ndependencies = ["locked"]\n'
        f'[[tool.uv.index]]\nname = "own"\nurl = "{server.url}/nightly/variants/simple/"\ndefault = true\n'
    )

    def run(*command: object) -> str:
        done = subprocess.run(
            [*machine.uv, *map(str, command), *PREVIEW, "--python", str(machine.program)],
            env={name: value for name, value in machine.environment.items() if name != "UV_NO_CONFIG"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("lock")
    lock = (tmp_path / "uv.lock").read_text()
    assert hashlib.sha256(plain[1]).hexdigest() in lock
    assert hashlib.sha256(first[1]).hexdigest() not in lock
    pinned = f"{server.url}/snapshots/{snapshot}/variants/simple/"
    (tmp_path / "wanted.in").write_text("locked\n")
    pins = run("pip", "compile", "--generate-hashes", "--default-index", pinned, "wanted.in")
    assert hashlib.sha256(first[1]).hexdigest() in pins
    (tmp_path / "pins.txt").write_text(pins)

    assert server.upload("m" * 22, *newer).status_code == 200
    server.publish("m" * 22, key="key-later")
    page = httpx2.get(f"{server.url}/nightly/variants/simple/locked/", headers=JSON).json()
    names = {file["filename"] for file in page["files"]}
    assert newer[0] in names
    assert first[0] not in names
    run("lock", "--check")
    options = ("--default-index", pinned, "--require-hashes", "--target", tmp_path / "site", "-r", "pins.txt")
    run("pip", "install", *options)
    assert label_of(tmp_path / "site") == "armv8.2a"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, toolbox: Toolbox) -> Place:
    """A place with a matrix of three targets, and nothing built."""
    made = make_place(tmp_path_factory.mktemp("place"), toolbox)
    with (made.configs / "matrices.toml").open("a") as matrices:
        matrices.write(MATRIX)
    return made


def test_a_real_wheel_runs_on_every_cpu_whose_owner_gets_it(
    place: Place, toolbox: Toolbox, server: Server, uv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compile for Neoverse N1 becomes a variant, which the audit holds to its label; one with SVE does not."""
    monkeypatch.setenv("ARMWHEELS_CONFIGS", str(place.configs))
    monkeypatch.setenv("ARMWHEELS_HOME", str(place.home))
    project = Project()
    builds = {build.target: build for build in project.builds("three")}
    wheels = {name: project.workshop.build(each, lambda *_: None).path for name, each in builds.items()}

    made = place.run("armwheels", "variant", str(wheels["neoverse-v1"]), "--output", str(tmp_path))
    assert made.returncode == 1
    assert "no variant: " in made.stdout
    assert "sve" in made.stdout
    made = place.run("armwheels", "variant", str(wheels["neoverse-n1"]), "--output", str(tmp_path))
    assert made.returncode == 0, made.stdout + made.stderr
    [variant] = tmp_path.glob("*.whl")
    label = variant.name.removesuffix(".whl").rpartition("-")[2]
    assert label in VALUES
    audited = place.run("armwheels", "audit", str(variant), "--json")
    assert audited.returncode == 0, audited.stdout
    assert json.loads(audited.stdout)["target"] == label
    run = project.workshop.verify(builds["neoverse-n1"], variant, lambda *_: None)
    assert run.passed
    assert run.filename == variant.name

    for wheel in (wheels["generic"], wheels["neoverse-n1"], wheels["neoverse-v1"], variant):
        assert server.upload("r" * 22, wheel.name, wheel.read_bytes()).status_code == 200
    server.publish("r" * 22, key="key-real")
    url = f"{server.url}/nightly/variants/simple/"
    names = {file["filename"] for file in httpx2.get(f"{url}msgpack/", headers=JSON).json()["files"]}
    assert names == {wheels["generic"].name, variant.name, "msgpack-1.2.4+generic-variants.json"}
    for name in CHOSEN:
        machine = Machine(toolbox, name, tmp_path, uv)
        site = machine.install(url, "msgpack", "site", *PREVIEW)
        assert label_of(site) == ("" if name == "generic" else label), name
        done = machine.python.run(["-c", RUN], extra={"PYTHONPATH": str(site)})
        assert done.returncode == 0, (name, done.stderr)
