"""How many small wheels a server takes in a second, beside pypiserver in the same run.

    .venv/bin/python -m scripts.bench_uploads --uploads 2000 --clients 8
    .venv/bin/python -m scripts.bench_uploads --uploads 10000 --clients 8 --no-peer   # a snapshot of 10,000 files

UPLOADS wheels of under 1 kB, of UPLOADS / 10 projects, are sent by CLIENTS threads, each over one kept connection,
to a server of WORKERS processes.
An upload counts once it is answered. Armwheels answers when the wheel would survive a crash of the machine;
pypiserver (fetched by uv) does not sync its files. Then a snapshot of all these files is asked for. Clients and
server share the machine's cores. Printed are uploads per second, the CPU time per upload of the server's
processes, of those that check wheels and of the clients, the memory, and the seconds until the snapshot was
answered.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import psutil
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from scripts.peers import BIN, PEER, free_port, running, wheel

OF_PROJECT = 10  # wheels
CHECKER = "index_server.intake.worker"
SESSION = "bench" * 6
BOUNDARY = secrets.token_hex(16)
ANSWER = re.compile(
    rb"HTTP/(?P<version>1\.[01]) (?P<status>[0-9]{3}).*?\r\ncontent-length: *(?P<length>[0-9]+).*?\r\n\r\n",
    re.DOTALL | re.IGNORECASE,
)
FIELD = '--{0}\r\nContent-Disposition: form-data; name="{1}"{2}\r\n\r\n'


def form(name: str, data: bytes, fields: Mapping[str, str] | None = None) -> bytes:
    """Return the body of an upload, as twine sends it. ``fields`` has the fields that an index asks for."""
    asked = {":action": "file_upload", **(fields or {})}
    head = "".join(FIELD.format(BOUNDARY, key, "") + f"{value}\r\n" for key, value in asked.items())
    head += FIELD.format(BOUNDARY, "content", f'; filename="{name}"')
    return head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


@retry(
    retry=retry_if_exception_type(TimeoutError), stop=stop_after_attempt(5)
)  # a full queue of the listener
def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=300)


def send(port: int, path: str, authorization: str | None, bodies: Iterable[bytes]) -> None:
    """Upload all bodies over one connection. A plain socket leaves the processors to the server.

    ``authorization`` is the value of the header field of that name.

    Raises:
        RuntimeError: an upload is refused.
    """
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    head += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
    if authorization:
        head += f"Authorization: {authorization}\r\n"
    connection = None
    for body in bodies:
        connection = connection or _connect(port)
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = b""
        while not (whole := ANSWER.match(answer)) or len(answer) < whole.end() + int(whole["length"]):
            piece = connection.recv(65536)
            if not piece:
                break
            answer += piece
        if not whole or whole["status"] != b"200":
            raise RuntimeError(f"{answer!r}")
        if whole["version"] == b"1.0" or b"\r\nconnection: close" in answer.lower():  # as of pypiserver
            connection.close()
            connection = None
    if connection:
        connection.close()


def snapshot(port: int, token: str) -> float:
    """Return the seconds until a snapshot of all uploads is answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    begun = time.monotonic()
    asked = {"session": SESSION, "idempotency_key": "bench"}
    connection.request("POST", "/api/snapshots", json.dumps(asked), headers)
    answer = connection.getresponse()
    if answer.status != 201:
        raise RuntimeError(f"{answer.status} {answer.read()!r}")
    return time.monotonic() - begun


def measure(
    process: psutil.Process,
    port: int,
    path: str,
    authorization: str | None,
    bodies: Sequence[bytes],
    clients: int,
) -> str:
    """Send all bodies by so many clients; return a row of the table."""
    shares = [bodies[number::clients] for number in range(clients)]
    before, own, begun = cpu(process), time.process_time(), time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(send, repeat(port), repeat(path), repeat(authorization), shares))
    seconds, own = time.monotonic() - begun, time.process_time() - own
    server, checks = (after - earlier for after, earlier in zip(cpu(process), before, strict=True))
    parts = "".join(f" {each / len(bodies) * 1e3:10.2f}" for each in (server, checks, own))
    memory = sum(each.memory_info().rss for each in (process, *process.children(recursive=True))) / 1e6
    return f"{len(bodies) / seconds:10.0f}{parts} {memory:10.0f}"


def cpu(process: psutil.Process) -> tuple[float, float]:
    """Return the CPU seconds of the server's processes, and those of the processes that check wheels."""
    server = checks = 0.0
    for each in (process, *process.children(recursive=True)):
        times = each.cpu_times()
        if CHECKER in each.cmdline():
            checks += times.user + times.system
        else:
            server += times.user + times.system
    return server, checks


def main() -> None:
    """Run both and print a table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--uploads", type=int, default=2000)
    options.add_argument("--clients", type=int, default=8)
    options.add_argument("--workers", type=int, default=1, help="server processes")
    options.add_argument("--no-peer", action="store_true", help="measure Armwheels alone")
    asked = options.parse_args()
    bodies = [form(*wheel(f"small{n // OF_PROJECT}", n % OF_PROJECT)) for n in range(asked.uploads)]
    print(f"{asked.uploads} uploads by {asked.clients} clients; load of the machine {os.getloadavg()[0]:.1f}")
    print(f"{'':18} {'':10} {'CPU ms each':>32}")
    titles = ("uploads/s", "server", "checks", "client", "memory, MB", "snapshot, s")
    print(f"{'':18}" + "".join(f" {title:>10}" for title in titles))
    with tempfile.TemporaryDirectory(dir=os.environ.get("ARMWHEELS_SCRATCH")) as name:
        os.environ.update(ARMWHEELS_HOME=f"{name}/home", ARMWHEELS_UPLOADS_PER_SECOND="9999")
        made = subprocess.run(
            [BIN / "armwheels-index", "token", "--name", "bench"], check=True, capture_output=True, text=True
        )
        token, port = made.stdout.strip(), free_port()
        serve = [str(BIN / "armwheels-index"), "serve", "--port", str(port)]
        serve += ["--workers", str(asked.workers)]
        with running(serve, f"http://127.0.0.1:{port}/healthz") as process:
            row = measure(
                process, port, f"/upload/?session={SESSION}", f"Bearer {token}", bodies, asked.clients
            )
            print(f"{'armwheels':18} {row} {snapshot(port, token):10.2f}")
        if asked.no_peer:
            return
        folder, port = Path(name) / "wheels", free_port()
        folder.mkdir()
        peer = [str(BIN / "uvx"), "--from", PEER, "pypi-server", "run", "-P", ".", "-a", "."]
        peer += ["-i", "127.0.0.1", "-p", str(port), str(folder)]
        with running(peer, f"http://127.0.0.1:{port}/simple/") as process:
            print(f"{'pypiserver 2.4.2':18} {measure(process, port, '/', None, bodies, asked.clients)}")


if __name__ == "__main__":
    main()
