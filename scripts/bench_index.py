"""Measure the index beside nginx with prerendered pages, devpi and pypiserver, in one run.

    .venv/bin/python -m scripts.bench_index
    .venv/bin/python -m scripts.bench_index --wheels 300 --large 100 --mib 20 --records 0 --peers armwheels

The second is a trial. WHEELS small wheels of PROJECTS projects are uploaded to each server over HTTP: a project of
LARGE files, the others of equal size, ten files a version, and one wheel of MIB mebibytes. nginx has the pages that
Armwheels serves, compressed beforehand, and the big wheel. Each server then answers the requests that pip sends,
over one connection. The servers take turns, ROUNDS times, and a server's smallest cost and its highest rate count.
CPU time is that of all processes of a server, user and system. The store of RECORDS records has a snapshot and no
wheels.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx2
import psutil
from rich.console import Console

from index_server.catalog.catalog import Catalog
from index_server.model import Record, Shard, ShardRef, Snapshot, sha256_hex
from index_server.rules.views import offers
from index_server.settings import load_settings
from index_server.store.address import open_store
from scripts.bench_promotion import record
from scripts.bench_uploads import form, send
from scripts.peers import BIN, PEERS, Peer, free_port, program, running, wheel
from scripts.traffic import Cost, Rate, cost, rate, resident

PIP = {  # what pip 26.3 sends
    "Accept": "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01",
    "Accept-Encoding": "gzip, deflate",
    "Cache-Control": "max-age=0",
    "User-Agent": 'pip/26.3 {"ci":null,"cpu":"aarch64","implementation":{"name":"CPython","version":"3.13.5"}}',
}
LARGE, SMALL, BIG = "large", "small0", "big"
TAGS = [f"cp3{minor}-none-any" for minor in range(6, 16)]  # of the wheels of a version
OF_PROJECT = 50  # records of a project of the store of records
BOTH = 8  # clients that upload, or download, at once
_progress = Console(stderr=True)


@dataclass
class Server:
    """A running server and what was measured."""

    name: str
    simple: str
    process: psutil.Process
    start: Callable[[], AbstractContextManager[psutil.Process]] | None
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    rates: dict[int, list[Rate]] = field(default_factory=dict)
    uploads: float | None = None  # a second
    began: float = 0.0  # seconds
    memory: float = 0.0  # megabytes

    def cheapest(self, page: str) -> Cost:
        """Return the smallest cost of a page."""
        return min(self.costs[page])

    def fastest(self, clients: int) -> Rate:
        """Return the highest rate with so many clients."""
        return max(self.rates[clients])


def small_wheels(count: int, large: int, projects: int) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield project, version, file name and bytes of each small wheel."""
    rest, of = max(projects - 1, 1), len(TAGS)
    for number in range(count):
        if number < large:
            project, place = LARGE, number
        else:
            project, place = f"small{(number - large) % rest}", (number - large) // rest
        name, data = wheel(project, place // of, tag=TAGS[place % of])
        yield project, f"{place // of}.0", name, data


def uploads(peer: Peer, wheels: Sequence[tuple[str, str, str, bytes]], clients: int) -> float:
    """Upload wheels by so many clients. Return the uploads a second."""
    parts = urlsplit(peer.upload)
    secret = base64.b64encode(f"{peer.user}:{peer.password}".encode()).decode()

    def bodies(number: int) -> Iterator[bytes]:
        for project, version, name, data in wheels[number::clients]:
            yield form(
                name,
                data,
                {
                    "protocol_version": "1",
                    "metadata_version": "2.1",
                    "name": project,
                    "version": version,
                    "filetype": "bdist_wheel",
                    "pyversion": "py3",
                    "sha256_digest": hashlib.sha256(data).hexdigest(),
                },
            )

    begun = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        shares = map(bodies, range(clients))
        list(pool.map(send, repeat(parts.port), repeat(parts.path), repeat(f"Basic {secret}"), shares))
    return len(wheels) / (time.monotonic() - begun)


@contextmanager
def nginx(folder: Path, pages: Mapping[str, bytes], big: tuple[str, bytes]) -> Iterator[Server]:
    """nginx with one process, pages compressed beforehand, and one wheel."""
    for project, page in pages.items():
        place = folder / "html/simple" / project
        place.mkdir(parents=True)
        (place / "index.json").write_bytes(page)
        (place / "index.json.gz").write_bytes(gzip.compress(page))
    (folder / "html/files").mkdir()
    (folder / "html/files" / big[0]).write_bytes(big[1])
    port = free_port()
    temporary = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""  # else its process could not read the folder
    (folder / "nginx.conf").write_text(
        f"""daemon off; pid {folder}/pid; error_log stderr; worker_processes 1; events {{}} {user}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; {temporary}
    server {{
        listen 127.0.0.1:{port}; root {folder}/html;
        location /simple/ {{ index index.json; default_type application/vnd.pypi.simple.v1+json; gzip_static on; }}
    }}
}}
"""
    )
    binary = str(program("nginx", folder))
    command = [binary, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
    start = partial(running, command, f"http://127.0.0.1:{port}/simple/{SMALL}/")
    with start() as process:
        yield Server("nginx", f"http://127.0.0.1:{port}/simple/", process, start)


def take(server: Server, page: str, seconds: float) -> None:
    """Measure one kind of request once."""
    url, headers = server.simple + (SMALL if page != LARGE else LARGE) + "/", dict(PIP)
    if page == "304":
        found = httpx2.get(url, headers=headers).headers
        if "etag" not in found:
            return
        headers["If-None-Match"] = found["etag"]
    taken = cost(server.process, url, headers, seconds)
    if taken.status != (304 if page == "304" else 200):
        raise RuntimeError(f"{server.name} answers {taken.status} for {url}")
    server.costs.setdefault(page, []).append(taken)


def file_url(server: Server, name: str) -> str:
    """Return the URL of a file, from the page of its project."""
    if server.name == "nginx":
        return urljoin(server.simple, f"../files/{name}")
    page = f"{server.simple}{BIG}/"
    text = httpx2.get(page, headers={"Accept": "text/html"}).text
    [reference] = set(re.findall(rf'href="([^"#]*{re.escape(name)})["#]', text))
    return urljoin(page, str(reference))


def restart(server: Server) -> None:
    """Measure the start of a server until it answers, and its memory after the page of each size."""
    if server.start is None:
        return
    begun = time.monotonic()
    with server.start() as process:
        httpx2.get(f"{server.simple}{SMALL}/", headers=PIP, timeout=600).raise_for_status()
        server.began = time.monotonic() - begun
        httpx2.get(f"{server.simple}{LARGE}/", headers=PIP, timeout=600).raise_for_status()
        server.memory = resident(process)


def fill(home: Path, count: int) -> None:
    """Write a snapshot of so many records, to which ``nightly`` moves."""
    os.environ["ARMWHEELS_HOME"] = str(home)
    settings = load_settings()
    catalog = Catalog(open_store(settings.store), settings.channels)
    projects: dict[str, ShardRef] = {}
    for first in range(0, count, 64 * OF_PROJECT):
        shards = {}
        for number in range(first, min(first + 64 * OF_PROJECT, count), OF_PROJECT):
            held = sorted(
                (record(each, OF_PROJECT) for each in range(number, number + OF_PROJECT)), key=_filename
            )
            data = Shard(project=held[0].project, records=tuple(held)).encode()
            digest = sha256_hex(data)
            shards[f"shards/{digest}.json"] = data
            projects[held[0].project] = ShardRef(shard=digest, files=len(held), offers=offers(held))
        with catalog.store.stage(shards) as staged:
            staged.create(*shards)
    made = Snapshot(
        id="20261101-1",
        parent=None,
        created_at="2026-11-01T00:00:00.000000Z",
        request=sha256_hex(b"bench"),
        projects=projects,
    )
    catalog.store.create(f"snapshots/{made.id}.json", made.encode())
    catalog.move("nightly", snapshot_id=made.id, expected_serial=0, nonce="bench", by="bench")


def _filename(each: Record) -> str:
    return each.filename


def many_records(home: Path, count: int) -> tuple[float, float, float]:
    """Return the seconds until a server with so many records answers, those of a second page, and its megabytes."""
    fill(home, count)
    port = free_port()
    base = f"http://127.0.0.1:{port}/nightly/generic/simple/project-"
    command = [str(BIN / "armwheels-index"), "serve", "--port", str(port)]
    begun = time.monotonic()
    with running(command, f"{base}0/") as process:
        httpx2.get(f"{base}0/", headers=PIP, timeout=600).raise_for_status()
        began = time.monotonic() - begun
        begun = time.monotonic()
        httpx2.get(f"{base}{count // OF_PROJECT - 1}/", headers=PIP, timeout=600).raise_for_status()
        return began, time.monotonic() - begun, resident(process)


def table(servers: Sequence[Server], large: int, small: int, mebibytes: int) -> str:
    """Return the table in Markdown. Ratios are to nginx."""
    titles = [f"{large:,}-file page, µs", f"{small}-file page, µs", "304, µs"]
    titles += [f"{mebibytes} MiB, GB/s, {clients}" for clients in (1, BOTH)]
    titles += ["uploads/s", "start, s", "memory, MB"]
    lines = ["| | " + " | ".join(titles) + " |", "|---|" + "---|" * len(titles)]
    first = servers[0]
    for server in servers:
        cells = []
        for page in (LARGE, SMALL, "304"):
            if page not in server.costs:
                cells.append("none")
                continue
            micros = server.cheapest(page).micros
            cells.append(f"{micros:,.0f} ({micros / first.cheapest(page).micros:.1f})")
        for clients in (1, BOTH):
            gigabytes = server.fastest(clients).gigabytes
            cells.append(f"{gigabytes:.2f} ({gigabytes / first.fastest(clients).gigabytes:.2f})")
        cells.append("" if server.uploads is None else f"{server.uploads:.0f}")
        cells += [f"{server.began:.2f}", f"{server.memory:.0f}"]
        lines.append(f"| {server.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run all and print the tables."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--wheels", type=int, default=10_000, help="small wheels")
    options.add_argument("--projects", type=int, default=200)
    options.add_argument("--large", type=int, default=2_000, help="files of the large project")
    options.add_argument("--mib", type=int, default=500, help="mebibytes of the big wheel")
    options.add_argument(
        "--records", type=int, default=1_000_000, help="of the store without wheels; 0: none"
    )
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=3.0, help="length of each measurement")
    options.add_argument("--peers", nargs="+", choices=tuple(PEERS), default=list(PEERS))
    asked = options.parse_args()
    small = (asked.wheels - asked.large) // max(asked.projects - 1, 1)
    with tempfile.TemporaryDirectory(dir=os.environ.get("ARMWHEELS_SCRATCH")) as scratch:
        print(f"load of the machine: {os.getloadavg()[0]:.1f}")
        wheels = list(small_wheels(asked.wheels, asked.large, asked.projects))
        big = (BIG, "1.0", *wheel(BIG, 1, os.urandom(asked.mib << 20)))
        with ExitStack() as ends:
            servers = compare(ends, Path(scratch), [*wheels, big], asked)
        for server in servers:
            _progress.print(f"start of {server.name}")
            restart(server)
        print(table(servers, asked.large, small, asked.mib))
    if asked.records:
        with tempfile.TemporaryDirectory(dir=os.environ.get("ARMWHEELS_SCRATCH")) as home:
            _progress.print(f"{asked.records:,} records")
            began, page, memory = many_records(Path(home), asked.records)
            print(
                f"\n{asked.records:,} records: start {began:.2f} s, a page {page:.3f} s, memory {memory:.0f} MB"
            )


def compare(
    ends: ExitStack, scratch: Path, wheels: Sequence[tuple[str, str, str, bytes]], asked: argparse.Namespace
) -> list[Server]:
    """Fill all servers, measure them in turns, and then the start of each."""
    big, servers = wheels[-1], []
    for name in asked.peers:
        (scratch / name).mkdir()
        peer = ends.enter_context(PEERS[name](scratch / name))
        _progress.print(f"{name}: {len(wheels) - 1:,} uploads")
        server = Server(name, peer.simple, peer.process, peer.start)
        # devpi 6.20 answers 500 when eight clients upload at once to a large project.
        server.uploads = uploads(peer, wheels[:-1], 1 if name == "devpi" else BOTH)
        uploads(peer, wheels[-1:], 1)
        begun = time.monotonic()
        peer.publish()
        if name == "armwheels":
            print(f"a snapshot of {len(wheels):,} files and the move to it: {time.monotonic() - begun:.2f} s")
        servers.append(server)
    ours = next((server for server in servers if server.name == "armwheels"), servers[0])
    (scratch / "nginx").mkdir()
    pages = {
        project: httpx2.get(f"{ours.simple}{project}/", headers=PIP).content
        for project in (LARGE, SMALL, BIG)
    }
    servers.insert(0, ends.enter_context(nginx(scratch / "nginx", pages, big[2:])))
    for number in range(asked.rounds):
        for server in servers:
            _progress.print(f"round {number + 1} of {asked.rounds}: {server.name}")
            for kind in (LARGE, SMALL, "304"):
                take(server, kind, asked.seconds)
            url = file_url(server, big[2])
            for clients in (1, BOTH):
                server.rates.setdefault(clients, []).append(rate(server.process, url, clients, asked.seconds))
    return servers


if __name__ == "__main__":
    main()
