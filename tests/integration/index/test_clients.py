"""twine, uv and pip against a real server."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.helpers.attested import Authority
from tests.helpers.clients import PURE, twine, uv_publish, write
from tests.helpers.servers import BIN, Server, run
from tests.helpers.wheels import make_wheel, tuned_wheel

pytestmark = pytest.mark.slow


def test_twine_uploads_and_shows_each_refusal(server: Server, tmp_path: Path) -> None:
    files = write(tmp_path / "dist", tuned_wheel(), (PURE, make_wheel(PURE)))
    code, text = twine(server, *files)
    assert code == 0, text
    assert twine(server, *files)[0] == 0
    [other] = write(tmp_path / "dist", (PURE, make_wheel(PURE, files={"pure_thing/more.py": b""})))
    code, text = twine(server, other)
    assert code == 1
    assert "409" in text
    assert "already exists with other bytes" in text
    code, text = twine(server, *files, token="awt_wrong")
    assert code == 1
    assert "403" in text
    [bad] = write(tmp_path / "dist", ("bad-1.0-py3-none-any.whl", make_wheel(PURE)))
    code, text = twine(server, bad)
    assert code == 1
    assert server.publish() in httpx2.get(f"{server.url}/").text
    assert len(server.stored("records")) == 2


def test_twine_uploads_into_a_session(server: Server, tmp_path: Path) -> None:
    files = write(tmp_path / "dist", tuned_wheel())
    assert twine(server, *files, query=f"?session={'t' * 22}")[0] == 0
    assert httpx2.get(f"{server.url}/api/sessions/{'t' * 22}").json()["files"][0]["project"] == "demo"


def test_uv_publish_uploads_and_skips_what_is_there(server: Server, tmp_path: Path) -> None:
    files = write(tmp_path / "dist", tuned_wheel(), (PURE, make_wheel(PURE)))
    for _ in range(2):  # the second time, the check URL says that all is there
        code, text = uv_publish(server, *files)
        assert code == 0, text
    code, text = uv_publish(server, *files, token="awt_wrong")
    assert code != 0
    assert "unknown here" in text
    held = httpx2.get(f"{server.url}/api/sessions/{'u' * 22}").json()["files"]
    assert len(held) == 2


def test_twine_and_uv_send_attestations(server: Server, tmp_path: Path) -> None:
    ours = Authority.make()
    one, two = write(tmp_path / "dist", tuned_wheel(), (PURE, make_wheel(PURE)))
    for wheel in (one, two):
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        beside = wheel.with_name(f"{wheel.name}.publish.attestation")
        beside.write_text(json.dumps(ours.attest(wheel.name, sha256)))
    code, text = twine(server, one, one.with_name(f"{one.name}.publish.attestation"), "--attestations")
    assert code == 0, text
    code, text = uv_publish(server, two, two.with_name(f"{two.name}.publish.attestation"))
    assert code == 0, text
    server.publish(key="one")
    server.publish("u" * 22, key="two")
    for project in ("demo", "pure-thing"):
        page = f"{server.url}/nightly/neoverse-v1/simple/{project}/"
        accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
        [file] = httpx2.get(page, headers=accept).json()["files"]
        assert httpx2.get(file["provenance"]).json()["version"] == 1
    (tmp_path / "dist").joinpath(f"{one.name}.publish.attestation").write_text(
        json.dumps(ours.attest("other.whl", "0" * 64))
    )
    code, text = twine(server, one, one.with_name(f"{one.name}.publish.attestation"), "--attestations")
    assert code == 1
    assert "its subject is 'other.whl'" in text


def test_pip_and_uv_install_from_a_view(server: Server, tmp_path: Path) -> None:
    wheels = [tuned_wheel(target=target) for target in ("generic", "neoverse-n1", "neoverse-v1")]
    needing = make_wheel("needing-1.0-py3-none-any.whl", metadata="Requires-Dist: pure-thing>=1")
    pure = [(PURE, make_wheel(PURE)), ("needing-1.0-py3-none-any.whl", needing)]
    assert twine(server, *write(tmp_path / "dist", *wheels, *pure))[0] == 0
    server.publish()
    index = f"{server.url}/nightly/graviton3/simple/"
    run(server, sys.executable, "-m", "venv", "--without-pip", tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    done = run(server, BIN / "pip", "--python", python, "install", "--index-url", index, "needing")
    assert done.returncode == 0, done.stderr
    assert "Downloading pure_thing-1.0-py3-none-any.whl.metadata" in done.stdout
    assert run(server, python, "-c", "import pure_thing; print(pure_thing.answer)").stdout == "42\n"
    cross = (
        "--python-platform",
        "aarch64-manylinux_2_28",
        "--python-version",
        "3.11",
        "--target",
        tmp_path / "t",
    )
    done = run(server, BIN / "uv", "pip", "install", "--default-index", index, *cross, "demo==1.0")
    assert "demo==1.0+neoverse.v1" in done.stderr
    done = run(
        server,
        *(BIN / "pip", "download", "--index-url", f"{server.url}/nightly/generic/simple/", "--no-deps"),
        *("--platform", "manylinux_2_28_aarch64", "--python-version", "3.11", "--only-binary", ":all:"),
        *("--dest", tmp_path / "down", "demo"),
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "down").iterdir()] == [wheels[0][0]]


def test_a_uv_lock_holds_after_the_channel_moved(server: Server, tmp_path: Path) -> None:
    assert twine(server, *write(tmp_path / "dist", (PURE, make_wheel(PURE))))[0] == 0
    server.publish()
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["pure-thing"]\n'
        f'[[tool.uv.index]]\nurl = "{server.url}/nightly/neoverse-v1/simple/"\ndefault = true\n'
    )
    server.environment.pop("UV_NO_CONFIG")
    done = run(server, BIN / "uv", "lock", "--python", sys.executable, cwd=project)
    assert done.returncode == 0, done.stderr
    lock = (project / "uv.lock").read_text()
    assert "upload-time" in lock
    assert "size = " in lock
    newer = "pure_thing-2.0-py3-none-any.whl"
    assert twine(server, *write(tmp_path / "dist", (newer, make_wheel(newer))))[0] == 0
    server.publish(key="key-2")
    done = run(server, BIN / "uv", "sync", "--locked", "--python", sys.executable, cwd=project)
    assert done.returncode == 0, done.stderr
    assert (project / "uv.lock").read_text() == lock
    assert "pure-thing==1.0" in done.stderr


def test_after_twine_one_command_publishes(server: Server, tmp_path: Path) -> None:
    _, text = twine(server, *write(tmp_path / "dist", (PURE, make_wheel(PURE))))
    assert "No page shows it yet. To publish it, run `armwheels snapshot` with the same token." in text
    page = f"{server.url}/nightly/generic/simple/pure-thing/"
    assert httpx2.get(page).status_code == 404
    ours = {"ARMWHEELS_INDEX": server.url, "ARMWHEELS_TOKEN": server.token}
    done = run(server, BIN / "armwheels", "snapshot", env=ours)
    assert done.returncode == 0, done.stderr
    assert ", files in it: 1\nnightly moved to " in done.stdout
    assert PURE in httpx2.get(page).text
    done = run(server, BIN / "armwheels", "snapshot", env=ours)
    assert done.returncode == 10
    assert "the session has no files" in " ".join(done.stderr.split())

    newer = "pure_thing-2.0-py3-none-any.whl"
    assert twine(server, *write(tmp_path / "dist", (newer, make_wheel(newer))))[0] == 0
    done = run(server, BIN / "armwheels", "snapshot", "--no-move", env=ours)
    made, promoted = done.stdout.splitlines()
    assert promoted == f"next: armwheels promote {made.split()[1].rstrip(',')} --to nightly"
    assert newer not in httpx2.get(page).text


def test_a_lock_from_the_address_of_the_page_holds_after_a_rebuild(server: Server, tmp_path: Path) -> None:
    first, second = (tuned_wheel(wheel_digest=letter * 64) for letter in "ab")
    assert first[0] != second[0]
    assert twine(server, *write(tmp_path / "dist", first))[0] == 0
    server.publish()
    page = httpx2.get(f"{server.url}/nightly/neoverse-v1/").text
    [command] = [line for line in page.splitlines() if "pip compile" in line]
    url = command.split("--default-index ")[1].split()[0]
    cross = ("--python-platform", "aarch64-manylinux_2_28", "--python-version", "3.11")
    (tmp_path / "requirements.in").write_text("demo\n")
    lock = tmp_path / "requirements.txt"
    done = run(
        server,
        *(BIN / "uv", "pip", "compile", "--generate-hashes", "--default-index", url, *cross),
        *(tmp_path / "requirements.in", "-o", lock),
    )
    assert done.returncode == 0, done.stderr
    assert twine(server, *write(tmp_path / "dist", second))[0] == 0
    server.publish(key="key-2")

    def install(index: str, folder: str) -> int:
        wanted = ("--require-hashes", "-r", lock, "--target", tmp_path / folder)
        done = run(server, BIN / "uv", "pip", "install", "--default-index", index, *cross, *wanted)
        return done.returncode

    assert install(url, "locked") == 0
    assert install(f"{server.url}/nightly/neoverse-v1/simple/", "moved") != 0


def test_a_yanked_tuned_wheel_gives_way_to_the_generic_one(server: Server, tmp_path: Path) -> None:
    wheels = [tuned_wheel(target=target) for target in ("generic", "neoverse-v1")]
    assert twine(server, *write(tmp_path / "dist", *wheels))[0] == 0
    server.publish()
    index = f"{server.url}/nightly/neoverse-v1/simple/"
    cross = ("--python-platform", "aarch64-manylinux_2_28", "--python-version", "3.11")
    name = wheels[1][0]
    mark = {"kind": "yank", "filename": name, "reason": "wrong sums", "nonce": "yank-1"}
    token = run(server, BIN / "armwheels-index", "token", "--name", "ops", "--scope", "yank").stdout.strip()
    marked = httpx2.post(f"{server.url}/api/status", json=mark, headers={"Authorization": f"Bearer {token}"})
    assert marked.status_code == 201, marked.text

    def install(wanted: str) -> str:
        command = (
            BIN / "uv",
            "pip",
            "install",
            "--default-index",
            index,
            *cross,
            "--target",
            tmp_path / wanted,
        )
        done = run(server, *command, wanted)
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert "demo==1.0+generic" in install("demo")
    assert "demo==1.0+generic" in install("demo==1.0")
    assert "demo==1.0+neoverse.v1" in install("demo==1.0+neoverse.v1")


def test_wheels_that_others_made_are_taken(server: Server, tmp_path: Path) -> None:
    """Real wheels, by real tools: the ones this environment's pip finds."""
    fetched = subprocess.run(
        [BIN / "pip", "download", "--no-deps", "--dest", tmp_path / "dist", "--only-binary", ":all:",
         "--platform", "manylinux_2_28_aarch64", "--platform", "manylinux2014_aarch64", "--python-version", "3.11",
         "markupsafe", "packaging", "idna", "msgpack"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert fetched.returncode == 0, fetched.stderr
    wheels = sorted((tmp_path / "dist").iterdir())
    assert len(wheels) == 4
    code, text = twine(server, *wheels)
    assert code == 0, text
    server.publish()
    assert run(server, BIN / "armwheels-index", "check", "--deep").returncode == 0


def test_pip_and_uv_install_from_the_lock_file_of_a_snapshot(server: Server, tmp_path: Path) -> None:
    name = "needing-1.0-py3-none-any.whl"
    needing = make_wheel(name, metadata="Requires-Dist: pure-thing>=1")
    assert twine(server, *write(tmp_path / "dist", (PURE, make_wheel(PURE)), (name, needing)))[0] == 0
    snapshot = server.publish()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    lock = tmp_path / "pylock.toml"
    address = f"{server.url}/snapshots/{snapshot}/neoverse-v1/pylock.toml?project=needing&python={python}"
    lock.write_bytes(httpx2.get(address).raise_for_status().content)
    for number, install in enumerate(
        (
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-index"],
            [BIN / "uv", "pip", "install", "--quiet", "--preview", "--no-index"],
        )
    ):
        site = tmp_path / f"site-{number}"
        done = run(server, *install, "--target", site, "--requirement", lock)
        assert done.returncode == 0, done.stdout + done.stderr
        assert {path.name for path in site.glob("*.dist-info")} == {
            "needing-1.0.dist-info",
            "pure_thing-1.0.dist-info",
        }
