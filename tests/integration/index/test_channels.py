"""The commands that move channels, and what uv and pip see of it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.helpers.servers import BIN, Server, run, start, stop, write_configs
from tests.helpers.wheels import make_wheel

pytestmark = pytest.mark.slow
CHANNELS = """
[nightly]
description = "newest"
[stable]
description = "chosen"
[stable.gates]
from = ["nightly"]
evidence = ["audit"]
approvals = 1
"""


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    return write_configs(tmp_path / "configs", CHANNELS)


@pytest.fixture
def index(tmp_path: Path, configs: Path) -> Iterator[Server]:
    """A server whose ``stable`` asks for another person's word."""
    running = start(tmp_path, ARMWHEELS_CONFIGS=str(configs))
    yield running
    stop(running)


def armwheels(server: Server, *arguments: str, token: str = "") -> tuple[int, str]:
    done = run(
        server,
        *(BIN / "armwheels", *arguments),
        env={"ARMWHEELS_INDEX": server.url, "ARMWHEELS_TOKEN": token or server.token},
    )
    return done.returncode, done.stdout + done.stderr


def token(server: Server, name: str, *scopes: str) -> str:
    allowed = [part for scope in scopes for part in ("--scope", scope)]
    done = run(server, BIN / "armwheels-index", "token", "--name", name, *allowed)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def nightly(server: Server, version: str, project: str = "pure_thing", **parts: Any) -> str:
    """A new version of a project, shown by ``nightly``."""
    name = f"{project}-{version}-py3-none-any.whl"
    session = f"{project}{version.replace('.', '-')}".ljust(22, "x").replace("_", "-")
    sent = server.upload(session, name, make_wheel(name, **parts))
    assert sent.status_code == 200, sent.text
    return server.publish(session, f"{project} {version}")


def test_a_lock_against_stable_survives_two_promotions_and_a_yank(index: Server, tmp_path: Path) -> None:
    mover, bob = token(index, "ann", "move:stable", "yank"), token(index, "bob", "move:stable")
    first = nightly(index, "1.0")
    code, text = armwheels(index, "promote", first, "--to", "stable", token=mover)
    assert (code, "the approval of another person" in text) == (10, True), text
    code, text = armwheels(
        index, "promote", first, "--to", "stable", "--approve-as", bob, "-m", "first", token=mover
    )
    assert (code, f"stable moved to {first} (serial 1)" in text) == (0, True), text

    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["pure-thing"]\n'
        f'[[tool.uv.index]]\nurl = "{index.url}/stable/neoverse-v1/simple/"\ndefault = true\n'
    )
    index.environment.pop("UV_NO_CONFIG")
    done = run(index, BIN / "uv", "lock", "--python", sys.executable, cwd=project)
    assert done.returncode == 0, done.stderr
    lock = (project / "uv.lock").read_text()

    for version in ("2.0", "3.0"):
        snapshot = nightly(index, version)
        assert armwheels(index, "approve", snapshot, "--to", "stable", token=bob)[0] == 0
        code, text = armwheels(index, "promote", snapshot, "--to", "stable", token=mover)
        assert code == 0, text
    code, text = armwheels(index, "yank", "pure_thing-1.0-py3-none-any.whl", "--reason", "old", token=mover)
    assert code == 0, text
    page = httpx2.get(f"{index.url}/stable/generic/simple/pure-thing/").text
    assert 'data-yanked="old"' in page
    index.environment["UV_CACHE_DIR"] = str(tmp_path / "fresh cache")
    done = run(index, BIN / "uv", "sync", "--locked", "--python", sys.executable, cwd=project)
    assert done.returncode == 0, done.stderr
    assert (project / "uv.lock").read_text() == lock
    assert "pure-thing==1.0" in done.stderr

    code, text = armwheels(index, "rollback", "stable", token=mover)
    assert (code, f"to {snapshot[:-1]}2 (serial 4)" in text) == (0, True), text
    code, text = armwheels(index, "rollback", "stable", token=mover)
    assert (code, f"to {first} (serial 5)" in text) == (0, True), text
    assert armwheels(index, "rollback", "stable", "--to", "20200101-1", token=mover)[0] == 10
    code, text = armwheels(index, "history", "stable", "--last", "3")
    assert (code, "and 2 earlier" in text, text.count("armwheels rollback")) == (0, True, 2), text
    assert "bob" in armwheels(index, "history", "stable")[1]
    code, text = armwheels(index, "quarantine", "pure-thing", "--reason", "stolen key", token=mover)
    assert code == 0, text
    code, text = armwheels(index, "rollback", "stable", "--to", snapshot, token=mover)
    assert (code, text.count("is under quarantine: stolen key")) == (10, 3), text
    assert run(index, BIN / "armwheels-index", "check", "--deep").returncode == 0


def test_of_two_racing_promoters_one_wins(index: Server) -> None:
    """Each asks the whole way by HTTP at the same time: one entry a serial, and the loser is told."""
    other = start(index.home, ARMWHEELS_CONFIGS=index.environment["ARMWHEELS_CONFIGS"])
    try:
        people = {name: token(index, name, "move:stable") for name in ("ann", "bob")}
        snapshots = [nightly(index, version) for version in ("1.0", "2.0")]
        for secret in people.values():
            for snapshot in snapshots:
                approval = {"channel": "stable", "snapshot": snapshot}
                auth = {"Authorization": f"Bearer {secret}"}
                sent = httpx2.post(f"{index.url}/api/approvals", json=approval, headers=auth)
                assert sent.status_code == 201
        statuses = []
        for serial in range(10):
            together = threading.Barrier(2)

            def promote(server: Server, name: str, snapshot: str, together: Any, serial: int) -> None:
                body = {"snapshot": snapshot, "expected_serial": serial, "nonce": f"{name} {serial}"}
                with httpx2.Client(headers={"Authorization": f"Bearer {people[name]}"}) as client:
                    together.wait(30)
                    answer = client.post(f"{server.url}/api/channels/stable/moves", json=body)
                statuses.append((serial, answer.status_code))

            # Both want the snapshot that the channel does not show, so that each is a real move.
            wanted = snapshots[serial % 2]
            threads = [
                threading.Thread(target=promote, args=(server, name, wanted, together, serial))
                for server, name in zip((index, other), people, strict=True)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            won = sorted(status for at, status in statuses if at == serial)
            # The loser's wish is fulfilled: told that it is so already, or that somebody was faster.
            assert won in ([200, 201], [201, 409]), statuses
        moves = httpx2.get(f"{other.url}/api/channels/stable/moves").json()["moves"]
        assert [move["serial"] for move in moves] == list(range(1, 11))
        assert run(index, BIN / "armwheels-index", "check").returncode == 0
    finally:
        stop(other)


def test_a_session_is_installed_from_before_anybody_sees_it(server: Server, tmp_path: Path) -> None:
    session = "preview-" + "p" * 22
    name = "pure_thing-9.0-py3-none-any.whl"
    sent = server.upload(session, name, make_wheel(name))
    assert sent.status_code == 200
    run(server, sys.executable, "-m", "venv", "--without-pip", tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    install = (BIN / "pip", "--python", python, "install", "--no-deps", "--index-url")
    preview = f"{server.url}/staging/{session}/simple/"
    done = run(server, *install, preview, "pure-thing")
    assert done.returncode == 0, done.stderr
    assert run(server, python, "-c", "import pure_thing; print(pure_thing.answer)").stdout == "42\n"
    assert httpx2.delete(f"{server.url}/api/sessions/{session}", headers=server.auth).status_code == 204
    done = run(server, *install, preview, "--force-reinstall", "pure-thing")
    assert done.returncode != 0
    asked = {"session": session, "idempotency_key": "k"}
    assert httpx2.post(f"{server.url}/api/snapshots", json=asked, headers=server.auth).status_code == 409


def test_pip_reads_with_a_token_where_reads_need_one(tmp_path: Path) -> None:
    server = start(tmp_path, ARMWHEELS_READS="token")
    try:
        name = "pure_thing-1.0-py3-none-any.whl"
        sent = server.upload("r" * 22, name, make_wheel(name))
        assert sent.status_code == 200
        reader = token(server, "reader", "read")
        place = f"/staging/{'r' * 22}/simple/"
        signed = server.url.replace("http://", f"http://__token__:{reader}@") + place
        for tool in (
            (BIN / "pip", "install", "--no-input", "--no-deps", "--target", tmp_path / "pip", "--index-url"),
            (BIN / "uv", "pip", "install", "--no-deps", "--target", tmp_path / "uv", "--default-index"),
        ):
            done = run(server, *tool, server.url + place, "pure-thing", env={"UV_PYTHON": sys.executable})
            assert done.returncode != 0
            done = run(server, *tool, signed, "pure-thing", env={"UV_PYTHON": sys.executable})
            assert done.returncode == 0, done.stderr
        gone = run(server, BIN / "armwheels-index", "revoke", "reader")
        assert "revoked" in gone.stdout, gone.stderr
        assert "revoked" in run(server, BIN / "armwheels-index", "tokens").stdout
    finally:
        stop(server)


def test_the_local_index_is_used_where_none_is_named(tmp_path: Path, configs: Path) -> None:
    """``armwheels history`` and ``promote`` start their own server on the local store."""
    server = start(tmp_path, ARMWHEELS_CONFIGS=str(configs))
    snapshot = nightly(server, "1.0")
    second = token(server, "second", "move:*")
    stop(server)
    done = run(
        server, BIN / "armwheels", "promote", snapshot, "--to", "stable", env={"ARMWHEELS_APPROVE_AS": second}
    )
    assert done.returncode == 0, done.stderr
    done = run(server, BIN / "armwheels", "history", "stable")
    assert (snapshot in done.stdout, "this run" in done.stdout, "second" in done.stdout) == (True, True, True)
    done = run(server, BIN / "armwheels", "yank", "pure_thing-1.0-py3-none-any.whl", "--reason", "old")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in server.stored("journal/_status")] == ["1.json"]
