"""twine, uv and pip against a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

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
