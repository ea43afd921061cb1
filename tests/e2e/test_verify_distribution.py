"""armwheels-verify from its wheel, installed alone, against a real server: the commands of the guide."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from builder.index.statements import Report, provenance, sealed, verdict
from index_server.settings import ROOT
from index_server.trust.keys import open_signer
from tests.helpers.servers import BIN, start
from tests.helpers.wheels import make_passport, tuned_wheel

pytestmark = pytest.mark.slow

Program = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def verify(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The program in a fresh environment; it sees nothing of the checkout."""
    folder = tmp_path_factory.mktemp("verify")
    project = ROOT / "distributions/armwheels-verify"
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=project, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [folder / "venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, wheel], check=True, cwd=folder)

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [folder / "venv/bin/armwheels-verify", *map(str, arguments)]
        environment = {"HOME": str(folder), "PATH": ""}
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    return call


def test_the_commands_of_the_guide(verify: Program, tmp_path: Path) -> None:
    home, dist = tmp_path / "home", tmp_path / "dist"
    home.mkdir()
    dist.mkdir()
    environment = {
        "ARMWHEELS_HOME": str(home),
        "ARMWHEELS_TUF_KEYS": str(tmp_path / "online.json"),
        "PATH": "",
    }

    def tuf(*arguments: object, code: int = 0) -> str:
        command = [BIN / "armwheels-index", "tuf", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    for name in ("root-a", "root-b", "root-c", "targets", "online", "builder"):
        tuf("key", f"{name}.json")
    roots = [part for name in "abc" for part in ("--root", f"root-{name}.json")]
    given = ("--targets", "targets.json", "--online", "online.json", "--builder", "builder.json")
    told = tuf("init", "--folder", "one", *roots, "--threshold", 2, *given, "--require", "audit")
    assert "0 of 2 signatures of the root role" in told
    tuf("sign", "--folder", "one", "--key", "root-a.json")
    assert "1 of 2 signatures" in tuf("publish", "--folder", "one", code=9)
    tuf("sign", "--folder", "one", "--key", "root-c.json")
    assert "signed by enough" in tuf("sign", "--folder", "one", "--key", "targets.json")
    assert "channel-nightly" in tuf("publish", "--folder", "one")

    server = start(home, ARMWHEELS_TUF_KEYS=environment["ARMWHEELS_TUF_KEYS"])
    try:
        filename, data = tuned_wheel()
        (dist / filename).write_bytes(data)
        assert server.upload("s" * 22, filename, data).status_code == 200
        [file] = httpx2.get(f"{server.url}/api/sessions/{'s' * 22}").json()["files"]
        signer, report = open_signer(tmp_path / "builder.json"), {"passed": True}
        made = {
            "audit": verdict(filename, file["sha256"], Report(kind="audit", body=report)),
            "provenance": provenance(filename, file["sha256"], make_passport()),
        }
        for kind, body in {
            "audit": report,
            **{f"statement-{k}": sealed(s, signer) for k, s in made.items()},
        }.items():
            sent = httpx2.put(
                f"{server.url}/api/evidence/{file['sha256']}/{kind}", json=body, headers=server.auth
            )
            assert sent.is_success, sent.text
        server.publish("s" * 22)
        page = httpx2.get(f"{server.url}/api/wheels/{file['sha256']}").text
        assert "Signed statements" in page
        assert "slsa.dev/provenance/v1" in page
        (tmp_path / "root.json").write_bytes(httpx2.get(f"{server.url}/tuf/1.root.json").content)
        root = ("--root", tmp_path / "root.json")
        online = verify("--index", server.url, *root, "--save", tmp_path / "saved", dist)
        assert online.returncode == 0, online.stdout + online.stderr
        assert "1 files, 0 refused" in online.stdout

        tuf("rotate", "--folder", "two", "--renew")
        for name in ("root-b", "root-c", "targets"):
            tuf("sign", "--folder", "two", "--key", f"{name}.json")
        tuf("publish", "--folder", "two")
        assert httpx2.get(f"{server.url}/tuf/2.root.json").status_code == 200
        assert verify("--index", server.url, *root, dist).returncode == 0
    finally:
        server.process.terminate()
        server.process.wait()

    away = verify("--index", server.url, *root, dist)
    assert away.returncode == 1
    assert "cannot be read" in away.stderr
    other = verify("--saved", tmp_path / "saved", *root, "--state", tmp_path / "newcomer", "--json", dist)
    assert other.returncode == 0, other.stdout + other.stderr
    assert json.loads(other.stdout)["files"][0]["holds"] is True
    older = verify("--saved", tmp_path / "saved", *root, dist)  # this client has seen the second root
    assert older.returncode == 1
    (dist / filename).write_bytes(data + b"x")
    swapped = verify("--saved", tmp_path / "saved", *root, "--state", tmp_path / "newcomer", dist)
    assert swapped.returncode == 1
    assert "another file has this name" in swapped.stdout
