"""twine and uv, each publishing to a server of a test."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.servers import BIN, Server, run

PURE = "pure_thing-1.0-py3-none-any.whl"


def write(folder: Path, *wheels: tuple[str, bytes]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name, data in wheels:
        (folder / name).write_bytes(data)
    return [folder / name for name, _ in wheels]


def twine(server: Server, *files: Path | str, token: str | None = None, query: str = "") -> tuple[int, str]:
    done = run(
        server,
        *(BIN / "twine", "upload", "--non-interactive", "--disable-progress-bar", "--verbose"),
        *("--username", "__token__", "--password", token or server.token),
        *("--repository-url", f"{server.url}/upload/{query}"),
        *files,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def uv_publish(server: Server, *files: Path, token: str | None = None) -> tuple[int, str]:
    done = run(
        server,
        *(BIN / "uv", "publish", "--publish-url", f"{server.url}/upload/?session={'u' * 22}"),
        *("--username", "__token__", "--password", token or server.token, "--trusted-publishing", "never"),
        *("--check-url", f"{server.url}/staging/{'u' * 22}/simple/") * (token is None),
        *files,
    )
    return done.returncode, done.stdout + done.stderr
