"""Runs an index under mixed load and attack, kills it at random, and checks that nothing acknowledged is lost.

    .venv/bin/python -m scripts.soak --seconds 600

A server on loopback keeps its store in a temporary folder. Meanwhile, each in a thread of its own:

* publishers upload wheels, make snapshots, and move `nightly` and then `stable`; they repeat what was not answered,
* readers fetch pages and files and compare each file with its sha256,
* attackers without a token send headers without end, half a header, half a body, nested JSON and files that are no
  wheels, and hold their connections open,
* the server is killed (SIGKILL) every few seconds and started again,
* `armwheels-index collect` runs, and is killed half of the time; it has wheels of 200 days ago to delete.

At the end the server is started once more. Every acknowledged upload must be there with its bytes, and every
acknowledged move in its journal. The memory of the server and its workers must have stayed under MEMORY, and
`armwheels-index check --deep` must find nothing. Exits with 1 if any of this fails.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from index_server.catalog.catalog import Catalog
from index_server.intake.upload import Upload, examine
from index_server.intake.wheel import read_wheel
from index_server.model import stamp
from index_server.settings import ROOT, load_settings
from index_server.store.address import open_store
from scripts.bench_uploads import BOUNDARY, form
from scripts.peers import BIN, free_port, wheel

MEMORY = 300e6  # bytes: resident, of the server and its workers
LONG_AGO = timedelta(days=200)  # more than the retention of nightly
CHANNELS = """
[nightly]
description = "newest"
retention_days = 90
[stable]
description = "chosen"
[stable.gates]
from = ["nightly"]
"""
ERRORS = (OSError, http.client.HTTPException)  # what a client sees of a killed server


@dataclass
class Soak:
    """The state that the threads share."""

    port: int
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    token: str = ""
    server: subprocess.Popen[bytes] | None = None
    uploaded: dict[str, tuple[str, str]] = field(default_factory=dict)  # file name: sha256 and session
    moves: list[tuple[str, int, str]] = field(default_factory=list)  # channel, serial, snapshot
    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    peak: float = 0.0  # bytes

    def count(self, name: str) -> None:
        with self.lock:
            self.counts[name] += 1

    def fault(self, text: str) -> None:
        with self.lock:
            self.faults.append(text)

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send one request over a connection of its own. Raises :data:`ERRORS` if the server dies meanwhile."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def publish(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        """Send a request with the token until it is answered, as a publisher would."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        while not self.stop.is_set():
            try:
                status, text = self.call(method, path, body, headers)
            except ERRORS:
                self.count("requests cut off")
            else:
                if status not in (429, 503):
                    return status, text
            self.stop.wait(0.2)
        return 0, b""


# The server


def start_server(soak: Soak) -> None:
    """Start the server and wait until it answers."""
    serve = [BIN / "armwheels-index", "serve", "--port", str(soak.port)]
    soak.server = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while soak.server.poll() is None:
        with contextlib.suppress(*ERRORS):
            soak.call("GET", "/healthz")
            return
        time.sleep(0.05)
    raise RuntimeError(f"the server ended with {soak.server.returncode}")


def stop_server(soak: Soak) -> None:
    """Kill the server."""
    if soak.server is not None:
        soak.server.kill()
        soak.server.wait()


def kill_server(soak: Soak, rng: random.Random) -> None:
    """Kill the server at random moments, and start it again."""
    while not soak.stop.wait(rng.uniform(3, 15)):
        stop_server(soak)
        soak.count("servers killed")
        start_server(soak)


def watch_memory(soak: Soak) -> None:
    """Keep the largest sum of resident memory."""
    while not soak.stop.wait(0.2):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(soak.server.pid if soak.server else os.getpid())
            processes = (process, *process.children(recursive=True))
            soak.peak = max(soak.peak, sum(each.memory_info().rss for each in processes))


def collect(soak: Soak, rng: random.Random) -> None:
    """Run the collector, and kill it half of the time."""
    while not soak.stop.is_set():
        running = subprocess.Popen(
            [BIN / "armwheels-index", "collect"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        if rng.random() < 0.5:
            soak.stop.wait(rng.uniform(0.5, 4))
            running.send_signal(signal.SIGKILL)
            soak.count("collectors killed")
        _, text = running.communicate()
        if running.returncode not in (0, -signal.SIGKILL):
            soak.fault(f"collect ended with {running.returncode}: {text.decode()}")
        if running.returncode == 0:
            soak.count("collectors finished")
        soak.stop.wait(1)


# Publishers and readers


def publish(soak: Soak, name: str) -> None:
    """Upload a few wheels into a session, make a snapshot, move `nightly`, move `stable`; again and again."""
    number = 0
    while not soak.stop.is_set():
        session = secrets.token_urlsafe(20)
        for _ in range(5):
            number += 1
            filename, data = wheel(f"{name}{number // 20}", number)
            body = form(filename, data)
            kind = f"multipart/form-data; boundary={BOUNDARY}"
            status, text = soak.publish("POST", f"/upload/?session={session}", body, kind)
            if status == 200:
                with soak.lock:
                    soak.uploaded[filename] = (hashlib.sha256(data).hexdigest(), session)
                soak.count("uploads")
            elif status:
                soak.fault(f"{filename}: {status} {text!r}")
        snapshot = _ask(soak, "/api/snapshots", {"session": session, "idempotency_key": session}, (200, 201))
        for channel in ("nightly", "stable") if snapshot else ():
            _move(soak, channel, snapshot["id"])


def _move(soak: Soak, channel: str, snapshot: str) -> None:
    """Move a channel; give up where another publisher was first."""
    try:
        serial = json.loads(soak.call("GET", f"/api/channels/{channel}")[1])["serial"]
    except (*ERRORS, KeyError):
        return
    asked = {"snapshot": snapshot, "expected_serial": serial, "nonce": secrets.token_hex(8)}
    moved = _ask(soak, f"/api/channels/{channel}/moves", asked, (200, 201), also=(409, 422))
    if "serial" in moved and moved.get("snapshot") == snapshot:
        with soak.lock:
            soak.moves.append((channel, moved["serial"], snapshot))
        soak.count(f"moves of {channel}")


def _ask(
    soak: Soak, path: str, asked: dict[str, Any], accept: tuple[int, ...], also: tuple[int, ...] = ()
) -> dict[str, Any]:
    status, text = soak.publish("POST", path, json.dumps(asked).encode(), "application/json")
    if status in accept:
        answer: dict[str, Any] = json.loads(text)
        return answer
    if status and status not in also:
        soak.fault(f"{path}: {status} {text!r}")
    return {}


def read(soak: Soak, rng: random.Random) -> None:
    """Fetch pages of channels, and some of the files that they name."""
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    while not soak.stop.is_set():
        base = f"/{rng.choice(('nightly', 'stable'))}/generic/simple/"
        with contextlib.suppress(*ERRORS):
            status, text = soak.call("GET", base, headers=accept)
            projects = [each["name"] for each in json.loads(text)["projects"]] if status == 200 else []
            for project in rng.sample(projects, min(3, len(projects))):
                status, text = soak.call("GET", f"{base}{project}/", headers=accept)
                if status not in (200, 404, 503):  # 404: the channel went back meanwhile
                    soak.fault(f"{base}{project}/: {status}")
                    continue
                soak.count("pages")
                files = json.loads(text)["files"] if status == 200 else []
                for file in rng.sample(files, min(2, len(files))):
                    _fetch(soak, f"/files/{file['hashes']['sha256']}/{file['filename']}")
        soak.stop.wait(0.01)


def _fetch(soak: Soak, path: str) -> None:
    status, data = soak.call("GET", path)
    if status == 503:
        return
    sha256 = path.split("/")[2]
    if status != 200 or hashlib.sha256(data).hexdigest() != sha256:
        soak.fault(f"{path}, which a page named: {status}, {len(data)} bytes")
    soak.count("files")


# Attackers


def attack(soak: Soak, rng: random.Random) -> None:
    """Send what no client sends, and keep some connections open."""
    held: list[socket.socket] = []
    kinds: tuple[Callable[[socket.socket], None], ...] = (
        _endless_header,
        _half_header,
        _stalled_body,
        _nested_json,
        partial(_no_wheel, soak.token),
        _many_headers,
    )
    while not soak.stop.is_set():
        with contextlib.suppress(OSError):
            connection = socket.create_connection(("127.0.0.1", soak.port), timeout=5)
            held.append(connection)
            rng.choice(kinds)(connection)
            soak.count("attacks")
        while len(held) > 200:
            held.pop(0).close()
        soak.stop.wait(0.05)
    for connection in held:
        connection.close()


def _endless_header(connection: socket.socket) -> None:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
    for _ in range(200):
        connection.sendall(b"x" * 65536)


def _many_headers(connection: socket.socket) -> None:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20000)


def _half_header(connection: socket.socket) -> None:
    connection.sendall(b"GET /nightly/generic/simple/ HTTP/1.1\r\nHost: a\r\nX: y")


def _stalled_body(connection: socket.socket) -> None:
    connection.sendall(b"POST /api/snapshots HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")


def _nested_json(connection: socket.socket) -> None:
    body = b"[" * 500_000
    head = f"POST /api/snapshots HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    connection.sendall(head + body)


def _no_wheel(token: str, connection: socket.socket) -> None:
    body = form("none-1-py3-none-any.whl", secrets.token_bytes(20_000))
    head = (
        f"POST /upload/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)


# Before and after


def publish_long_ago(count: int) -> list[str]:
    """Lay wheels into the store that `nightly` showed 200 days ago and no longer shows. Return their paths."""
    paths = []
    settings = load_settings()
    store = open_store(settings.store)
    then = datetime.now(UTC) - LONG_AGO
    catalog = Catalog(store, settings.channels, lambda: then)
    for session, numbers in (("o" * 22, range(count)), ("p" * 22, range(count, count + 1))):
        for number in numbers:
            filename, data = wheel("old", number)
            with store.scratch() as path:
                path.write_bytes(data)
                digests = {
                    "sha256_digest": hashlib.sha256(data).hexdigest(),
                    "blake2_256_digest": hashlib.blake2b(data, digest_size=32).hexdigest(),
                }
                upload = Upload(path, {":action": "file_upload"}, filename, len(data), digests)
                check = partial(read_wheel, targets=settings.targets, passport=settings.passport)
                record, metadata, _ = examine(upload, check, at=stamp(then), by="soak")
                catalog.record_file(record, metadata, path, session)
                paths.append(f"/files/{record.sha256}/{filename}")
    made = catalog.make_snapshot("o" * 22, "old", "nightly").id
    catalog.move("nightly", snapshot_id=made, expected_serial=0, nonce="old", by="soak")
    # The next snapshot has nothing of the first one: its parent is what `stable` shows, which is nothing.
    other = catalog.make_snapshot("p" * 22, "new", "stable").id
    catalog.move("nightly", snapshot_id=other, expected_serial=1, nonce="new", by="soak")
    for path in Path(os.environ["ARMWHEELS_HOME"], "store").rglob("*"):
        os.utime(path, (then.timestamp(), then.timestamp()))  # announcements are dated by the store's clock
    return paths[:count]


def verify(soak: Soak, outdated: Sequence[str]) -> None:
    """Check that everything acknowledged is there, and that the collector did its work."""
    for filename, (sha256, _) in soak.uploaded.items():
        status, data = soak.call("GET", f"/files/{sha256}/{filename}")
        if status != 200 or hashlib.sha256(data).hexdigest() != sha256:
            soak.fault(f"{filename} was acknowledged: {status}")
    sessions: dict[str, set[str]] = {}
    for filename, (_, session) in soak.uploaded.items():
        sessions.setdefault(session, set()).add(filename)
    for session, names in sessions.items():
        _, text = soak.call("GET", f"/api/sessions/{session}")
        if not names <= {file["filename"] for file in json.loads(text).get("files", [])}:
            soak.fault(f"session {session} lacks files that were acknowledged")
    _verify_moves(soak)
    for command in ("check", "--deep"), ("collect",), ("check", "--deep"):
        done = subprocess.run(
            [BIN / "armwheels-index", *command], check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            soak.fault(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    kept = [path for path in outdated if soak.call("GET", path)[0] != 410]
    if kept:
        soak.fault(f"{len(kept)} files of 200 days ago were not collected: {kept[0]}")
    if soak.peak > MEMORY:
        soak.fault(f"the server and its workers took {soak.peak / 1e6:.0f} MB")


def _verify_moves(soak: Soak) -> None:
    for channel in ("nightly", "stable"):
        _, text = soak.call("GET", f"/api/channels/{channel}/moves")
        entries = {(move["serial"], move["snapshot"]) for move in json.loads(text)["moves"]}
        for name, serial, snapshot in soak.moves:
            if name == channel and (serial, snapshot) not in entries:
                soak.fault(f"move {serial} of {channel} to {snapshot} was acknowledged and is not there")


def report(soak: Soak, seconds: float) -> None:
    """Print one line of what happened so far."""
    counts = ", ".join(f"{name} {number}" for name, number in sorted(soak.counts.items()))
    print(f"{seconds:5.0f} s: {counts}; peak memory {soak.peak / 1e6:.0f} MB", flush=True)


def run(seconds: float, seed: int) -> list[str]:
    """Run everything for so long; return what went wrong."""
    rng = random.Random(seed)  # noqa: S311 - it chooses moments, no secrets
    with tempfile.TemporaryDirectory() as name:
        os.environ.update(ARMWHEELS_HOME=name, ARMWHEELS_UPLOADS_PER_SECOND="9999")
        configs = Path(name) / "configs"
        configs.mkdir()
        for path in (ROOT / "configs").glob("*.*"):
            (configs / path.name).write_bytes(path.read_bytes())
        (configs / "channels.toml").write_text(CHANNELS)
        os.environ["ARMWHEELS_CONFIGS"] = str(configs)
        soak = Soak(free_port())
        outdated = publish_long_ago(200)
        made = subprocess.run(
            [BIN / "armwheels-index", "token", "--name", "soak"], check=True, capture_output=True, text=True
        )
        soak.token = made.stdout.strip()
        start_server(soak)
        work: list[Callable[[], None]] = [
            *(partial(publish, soak, f"load{letter}") for letter in "ab"),
            *(partial(read, soak, rng) for _ in range(2)),
            partial(attack, soak, rng),
            partial(kill_server, soak, rng),
            partial(collect, soak, rng),
            partial(watch_memory, soak),
        ]
        threads = [threading.Thread(target=_guarded, args=(soak, each)) for each in work]
        for thread in threads:
            thread.start()
        begun = time.monotonic()
        while (elapsed := time.monotonic() - begun) < seconds and not soak.faults:
            soak.stop.wait(min(10, seconds - elapsed))
            report(soak, time.monotonic() - begun)
        soak.stop.set()
        for thread in threads:
            thread.join()
        stop_server(soak)
        start_server(soak)
        verify(soak, outdated)
        stop_server(soak)
    for wanted in ("uploads", "files", "moves of nightly", "moves of stable", "servers killed", "attacks"):
        if not soak.counts[wanted]:
            soak.fault(f"there were no {wanted}: nothing was proven")
    return soak.faults


def _guarded(soak: Soak, work: Callable[[], None]) -> None:
    try:
        work()
    except Exception as error:  # a thread that ends early would prove nothing
        soak.fault(f"{work}: {error!r}")


def main() -> None:
    """Run, and print what went wrong."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seconds", type=float, default=600.0)
    options.add_argument(
        "--seed", type=int, default=1, help="of the moments of kills and of the order of attacks"
    )
    asked = options.parse_args()
    faults = run(asked.seconds, asked.seed)
    for each in faults:
        print(f"fault: {each}")
    print(f"{len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
