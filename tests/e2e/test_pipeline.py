"""From source to `pip install`: a real cross-compile, repair, audit, emulation, publication and installation."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import httpx2
import jsonschema
import psutil
import pytest

from builder.audit import elf
from builder.settings import configs_dir
from builder.toolbox.toolbox import Toolbox
from tests.helpers.places import BIN, Place, Served, make_place

pytestmark = pytest.mark.slow


def test_a_night_publishes_what_it_built(served: Served) -> None:
    assert "built            msgpack-1.2.4-cp311-neoverse-v1" in served.output
    assert "nightly moved to" in served.output
    [snapshot] = served.place.snapshots()
    assert len(served.place.journal()) == 1
    assert snapshot["id"] in served.output


def test_the_wheel_says_what_it_is(served: Served) -> None:
    [wheel] = served.place.wheels()
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = "msgpack-1.2.4+neoverse.v1.dist-info"
        passport = json.loads(archive.read(f"{info}/armwheels.json"))
        metadata = archive.read(f"{info}/METADATA").decode()
        assert f"{info}/sboms/armwheels.cdx.json" in names
    schema = json.loads((configs_dir() / "passport.schema.json").read_text())
    jsonschema.validate(passport, schema, cls=jsonschema.Draft202012Validator)
    assert "\nVersion: 1.2.4+neoverse.v1\n" in metadata
    assert passport["flags_observed"] == ["-mcpu=neoverse-v1"]
    assert wheel.name.startswith(
        f"msgpack-1.2.4+neoverse.v1-1_{passport['digests']['wheel'][:8]}-cp311-cp311-"
    )


def test_the_audit_can_tell_its_code_by_source_file(served: Served) -> None:
    [wheel] = served.place.wheels()
    with zipfile.ZipFile(wheel) as archive:
        [module] = [name for name in archive.namelist() if name.endswith(".so") and "/_cmsgpack" in name]
        symbols = elf.read(module, archive.read(module)).symbols
    assert "_cmsgpack.c" in {symbols.unit(index) for index in range(len(symbols.offsets))}


def test_what_was_found_out_lies_beside_it(served: Served) -> None:
    [wheel] = served.place.wheels()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    audit = httpx2.get(f"{served.url}/api/evidence/{digest}/audit").json()
    run = httpx2.get(f"{served.url}/api/evidence/{digest}/emulation").json()
    assert audit["passed"]
    assert run["passed"]
    assert run["cpu"].startswith("neoverse-v1")
    assert {check["name"] for check in run["checks"]} >= {"pip install", "extension", "round_trip"}


def test_an_aarch64_pip_installs_it_under_emulation(served: Served, tmp_path: Path) -> None:
    environment = ("--python", "cp311", "--venv", str(tmp_path / "env"))
    python = ("armwheels", "python", "--target", "graviton3", *environment, "--")
    pip = (
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--no-cache-dir",
        "--index-url",
        served.simple(),
    )
    done = served.place.run(*python, *pip, "msgpack")
    assert done.returncode == 0, done.stdout + done.stderr
    code = (
        "import msgpack, platform; print(platform.machine(), msgpack.Packer.__module__, msgpack.packb([1]))"
    )
    used = served.place.run(*python, "-c", code)
    assert used.stdout.split(maxsplit=2) == ["aarch64", "msgpack._cmsgpack", "b'\\x91\\x01'\n"]
    shown = served.place.run(*python, "-m", "pip", "--disable-pip-version-check", "list", "--format", "json")
    assert {"name": "msgpack", "version": "1.2.4+neoverse.v1"} in json.loads(shown.stdout)


def test_uv_resolves_and_installs_the_same_wheel(served: Served, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(
                str(BIN / "uv"),
                "pip",
                "install",
                "--no-cache",
                "--no-config",
                "--target",
                str(tmp_path / "site"),
            ),
            *("--python-platform", "aarch64-manylinux_2_28", "--python-version", "3.11"),
            *("--only-binary", ":all:", "--index-url", served.simple(), "msgpack"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [wheel] = served.place.wheels()
    with zipfile.ZipFile(wheel) as archive:
        [name] = [n for n in archive.namelist() if n.endswith(".so")]
        assert (tmp_path / "site" / name).read_bytes() == archive.read(name)


def test_twine_finds_its_own_file_there_already(served: Served) -> None:
    token = served.place.run("armwheels-index", "token", "--name", "twine").stdout.strip().splitlines()[-1]
    [wheel] = served.place.wheels()
    done = subprocess.run(
        [str(BIN / "twine"), "upload", "--non-interactive", "--disable-progress-bar", str(wheel)],
        env={
            **os.environ,
            "TWINE_REPOSITORY_URL": f"{served.url}/upload/?session={'t' * 24}",
            "TWINE_USERNAME": "__token__",
            "TWINE_PASSWORD": token,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_second_night_builds_nothing_and_makes_no_snapshot(served: Served) -> None:
    before = (served.place.snapshots(), served.place.journal())
    start = time.monotonic()
    done = served.place.run("armwheels", "nightly", "--matrix", "tiny")
    assert done.returncode == 0
    assert "nothing new: no snapshot was made" in done.stdout
    assert "published before" in done.stdout
    assert (served.place.snapshots(), served.place.journal()) == before
    assert time.monotonic() - start < 60


def test_a_v1_wheel_is_refused_as_an_n1_wheel(served: Served) -> None:
    [wheel] = served.place.wheels()
    done = served.place.run("armwheels", "audit", str(wheel), "--target", "neoverse-n1", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    [verdict] = [v for v in report["verdicts"] if v["check"] == "instructions"]
    assert verdict["outcome"] == "fail"
    assert "sve" in verdict["detail"]


def test_a_deep_check_of_the_index_finds_no_fault(served: Served) -> None:
    done = served.place.run("armwheels-index", "check", "--deep")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("compiler", ["gcc", "gcc-14", "zig"])
def test_another_folder_gives_the_same_bytes(tmp_path: Path, toolbox: Toolbox, compiler: str) -> None:
    """Two folders whose every tool lies elsewhere too: the second place has a toolbox of its own."""
    made = []
    for name in ("one", "a/longer/folder"):
        place = make_place(tmp_path / name, toolbox)
        if made:
            (place.home / "toolbox").unlink()
            shared = toolbox.home / "toolbox"
            shutil.copytree(shared, place.home / "toolbox", symlinks=True, copy_function=os.link)
        recipe = place.configs / "recipes/msgpack.toml"
        text = re.sub(r"(?m)^compiler = .*", f'compiler = "{compiler}"', recipe.read_text())
        text = text.replace('workload = "packb-*"', 'workload = "*"')  # this is about bytes, not speed
        recipe.write_text(re.sub(r"(?m)^limit = .*", "limit = 2.0", text))
        done = place.run("armwheels", "build", "msgpack-1.2.4-cp311-neoverse-v1", "--matrix", "tiny")
        assert done.returncode == 0, done.stdout + done.stderr
        made += place.wheels()
    one, two = made
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()


def test_a_changed_option_is_named_by_the_plan(served: Served, tmp_path: Path, toolbox: Toolbox) -> None:
    changed = make_place(tmp_path, toolbox)
    recipe = changed.configs / "recipes/msgpack.toml"
    recipe.write_text(recipe.read_text().replace('cflags = ["-O3"]', 'cflags = ["-O2"]'))
    place = Place(home=served.place.home, configs=changed.configs)
    done = place.run("armwheels", "plan", "--matrix", "tiny")
    assert done.returncode == 0, done.stderr
    assert "changed: settings.cflags --O3 +-O2" in done.stdout
    same = served.place.run("armwheels", "plan", "--matrix", "tiny")
    assert "published" in same.stdout


def test_after_a_night_over_a_closed_matrix_one_index_is_enough(
    served: Served, tmp_path: Path, toolbox: Toolbox
) -> None:
    closed = make_place(tmp_path, toolbox)
    matrices = closed.configs / "matrices.toml"
    matrices.write_text(matrices.read_text().replace("[tiny]\n", "[tiny]\nclosed = true\n"))
    done = Place(home=served.place.home, configs=closed.configs).run(
        "armwheels", "nightly", "--matrix", "tiny"
    )
    assert done.returncode == 0, done.stderr
    assert f"ours: {served.place.wheels()[0].name}" in done.stdout
    assert "nightly already has all wheels" in done.stdout


STAGES = (
    ": source",
    ": build environment",
    ": compile",
    ": repair",
    ": audit",
    ": installing",
    "a lesser CPU",
)


def test_killed_at_any_stage_the_next_run_goes_on(served: Served, place: Place) -> None:
    """Kill -9 once as each stage begins, then let a run end: the same bytes, one snapshot, one move.

    The process alone is killed, so that what it had started is left behind, as it would be.
    """

    def kill_at(sign: str) -> None:
        process = place.start("armwheels", "nightly", "--matrix", "tiny")
        assert process.stdout is not None
        assert any(sign in line for line in process.stdout), f"the run never came to '{sign}'"
        process.kill()
        process.wait()
        process.stdout.close()

    for stage in STAGES:
        kill_at(stage)
        assert place.journal() == []
        assert place.snapshots() == []
    # The line of the finished wheel comes just before it is published. The plan is that of the first run.
    kill_at("built ")
    done = place.run("armwheels", "nightly", "--matrix", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": source" not in done.stdout
    assert ": compile" not in done.stdout
    assert len(place.snapshots()) == len(place.journal()) == 1
    assert [path.read_bytes() for path in place.wheels()] == [p.read_bytes() for p in served.place.wheels()]
    check = place.run("armwheels-index", "check", "--deep")
    assert check.returncode == 0, check.stdout + check.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal_it_takes_its_compilers_along(place: Place, how: signal.Signals) -> None:
    for stage in (": compile", ": installing"):
        process = place.start("armwheels", "nightly", "--matrix", "tiny")
        assert process.stdout is not None
        assert any(stage in line for line in process.stdout), f"the run never came to '{stage}'"
        process.send_signal(how)
        output = process.stdout.read()
        assert process.wait(timeout=60) == 130
        assert "the same command continues from here" in output
        assert not [one for one in psutil.process_iter() if str(place.home) in _environment(one)]
    done = place.run("armwheels", "nightly", "--matrix", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(place.snapshots()) == len(place.journal()) == 1


def _environment(process: psutil.Process) -> str:
    try:
        return process.environ().get("ARMWHEELS_HOME", "")
    except psutil.Error:
        return ""


def test_a_broken_build_keeps_the_channel_and_is_told(
    served: Served, tmp_path: Path, toolbox: Toolbox
) -> None:
    broken = make_place(tmp_path, toolbox)
    recipe = broken.configs / "recipes/msgpack.toml"
    recipe.write_text(
        recipe.read_text().replace('cflags = ["-O3"]', 'cflags = ["-O3", "-include", "gone.h"]')
    )
    before = served.place.journal()
    place = Place(home=served.place.home, configs=broken.configs)
    done = place.run("armwheels", "nightly", "--matrix", "tiny")
    assert done.returncode == 11
    assert "gone.h" in done.stdout
    assert "missing msgpack-1.2.4-cp311-neoverse-v1" in done.stdout
    assert served.place.journal() == before


def test_publish_proves_a_wheel_before_it_uploads_it(served: Served, place: Place) -> None:
    """From another store's point of view the wheel is a stranger's file, named by a relative path."""
    [wheel] = served.place.wheels()
    beside = Place(home=place.home, configs=place.configs, folder=wheel.parent)
    done = beside.run("armwheels", "publish", wheel.name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nightly moved to" in done.stdout
    assert len(place.snapshots()) == len(place.journal()) == 1
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert {path.name for path in (place.home / "store/evidence" / digest).iterdir()} == {
        "audit",
        "emulation",
        "bench",
    }
    again = beside.run("armwheels", "publish", wheel.name)
    assert "nothing new" in again.stdout
