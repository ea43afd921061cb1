"""The configurations of docs/guides/proxy.md, run: nginx and Caddy in front of the index, below a path."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from index_server.settings import ROOT
from scripts.peers import program
from tests.helpers.servers import BIN, Server, run
from tests.helpers.wheels import make_wheel

pytestmark = pytest.mark.slow
PURE = "pure_thing-1.0-py3-none-any.whl"
SESSION = "s" * 22


def example(language: str, index: str, port: int) -> str:
    """A configuration of the guide, for these ports."""
    guide = (ROOT / "docs/guides/proxy.md").read_text(encoding="utf-8")
    [text] = re.findall(rf"```{language}\n(.*?)```", guide, flags=re.DOTALL)
    return str(text).replace("127.0.0.1:8080", index).replace("127.0.0.1:8000", f"127.0.0.1:{port}")


def found(name: str, folder: Path) -> Path:
    try:
        return program(name, folder)
    except FileNotFoundError as error:
        pytest.skip(str(error))


def nginx(folder: Path, index: str, port: int) -> list[str | Path]:
    (folder / "logs").mkdir()
    places = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = f"daemon off; pid {folder}/pid; error_log stderr; events {{}}\n"
    text += f"http {{ access_log off; {places}\n{example('nginx', index, port)} }}\n"
    (folder / "nginx.conf").write_text(text)
    return [found("nginx", folder), "-p", folder, "-e", "stderr", "-c", folder / "nginx.conf"]


def caddy(folder: Path, index: str, port: int) -> list[str | Path]:
    text = f"{{\n\tadmin off\n}}\n{example('caddyfile', index, port)}"
    (folder / "Caddyfile").write_text(text)
    return [found("caddy", folder), "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile"]


@contextmanager
def running(command: list[str | Path], folder: Path, url: str) -> Iterator[None]:
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the proxy does not answer"
            try:
                httpx2.get(url)
                break
            except httpx2.TransportError:
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize("proxy", [nginx, caddy])
def test_pip_and_uv_install_below_a_path(server: Server, tmp_path: Path, proxy: object) -> None:
    assert callable(proxy)
    assert server.upload(SESSION, PURE, make_wheel(PURE)).status_code == 200
    server.publish(SESSION)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path / "proxy"
    folder.mkdir()
    site = f"http://127.0.0.1:{port}/wheels"
    index = f"{site}/nightly/graviton3/simple/"  # an alias: it redirects
    with running(proxy(folder, server.url.removeprefix("http://"), port), folder, f"{site}/"):
        front = httpx2.get(f"{site}/").text
        assert f"--index-url {site}/nightly/" in front
        assert f"uploads go to {site}/upload/" in httpx2.post(f"{site}/").text
        pip = run(
            server, BIN / "pip", "install", "--target", tmp_path / "pip", "--index-url", index, "pure-thing"
        )
        assert pip.returncode == 0, pip.stderr
        uv = run(
            server,
            BIN / "uv",
            "pip",
            "install",
            "--target",
            tmp_path / "uv",
            "--default-index",
            index,
            "pure-thing",
        )
        assert uv.returncode == 0, uv.stderr
        project = tmp_path / "project"
        project.mkdir()
        (project / "pyproject.toml").write_text(
            '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["pure-thing"]\n'
        )
        locked = run(server, BIN / "uv", "lock", "--default-index", index, cwd=project)
        assert locked.returncode == 0, locked.stderr
        assert f'url = "{site}/files/' in (project / "uv.lock").read_text()
        data = make_wheel("other-1.0-py3-none-any.whl")
        sent = httpx2.post(
            f"{site}/upload/?session={SESSION}",
            data={":action": "file_upload"},
            files={"content": ("other-1.0-py3-none-any.whl", data)},
            headers=server.auth,
        )
        assert sent.status_code in (200, 409), sent.text
