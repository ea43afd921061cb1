"""Measure what signing costs: a move, the metadata, and a client that verifies a lock file.

    .venv/bin/python -m scripts.bench_signing --files 100 --files 10000 --moves 100

For each number of files, the script writes that many records in projects of 50 to a folder store, and makes MOVES
snapshots of one more file each. It prints the CPU-seconds and the bytes that signing a move takes, the size of all
that is signed, and what armwheels-verify reads and needs for 30 files: at first, again, and one move later. The
client reads the server's answers in the same process, without a network.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from armwheels_verify.judge import Judge
from armwheels_verify.ledger import Ledger
from armwheels_verify.wanted import Wanted
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, TargetFile, Targets

from index_server.catalog.catalog import Catalog
from index_server.catalog.recording import CheckedFile
from index_server.errors import NotFoundError
from index_server.model import Record
from index_server.pages.files import StoredFile
from index_server.pages.signed import Signed
from index_server.store.folder import DirectoryStore
from index_server.trust import ceremony
from index_server.trust.repository import Repository
from scripts.bench_promotion import record

OF_PROJECT = 50  # files
TOGETHER = 500  # files that are recorded at a time
LOCKED = 30  # files of the lock file that is verified


class Server:
    """The answers of an index without keys, counted. A source of armwheels-verify."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._signed = Signed(catalog, Repository(catalog))
        self.bytes = self.requests = 0

    def chunks(self, path: str) -> Iterator[bytes]:
        self.requests += 1
        if not path.startswith("tuf/"):
            raise FileNotFoundError(path)  # no statements were published
        try:
            answer = self._signed.find(path.removeprefix("tuf/").split("/"))
        except NotFoundError:
            raise FileNotFoundError(path) from None
        data = self._catalog.store.get(answer.key) if isinstance(answer, StoredFile) else answer.body
        self.bytes += len(data)
        yield data


def fill(catalog: Catalog, files: int) -> list[Record]:
    """Record files and show them in one snapshot."""
    session, records = "b" * 22, [record(number, OF_PROJECT) for number in range(files)]
    for start in range(0, files, TOGETHER):
        part = records[start : start + TOGETHER]
        catalog.recorder.record([CheckedFile(each, b"m", each.filename.encode(), session) for each in part])
    move(catalog, session)
    return records


def move(catalog: Catalog, session: str) -> None:
    """Make a snapshot of a session and show it."""
    made, head = catalog.make_snapshot(session, session, "nightly"), catalog.head("nightly")
    serial = head.serial if head else 0
    catalog.move("nightly", snapshot_id=made.id, expected_serial=serial, nonce=session, by="bench")


def usual_target(each: Record) -> TargetFile:
    """A wheel as a target of TUF."""
    return TargetFile(each.size, {"sha256": each.sha256}, f"{each.sha256}/{each.filename}")


def signed_sizes(folder: Path) -> dict[str, int]:
    """The bytes of each document below ``tuf/``."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.glob("tuf/*/*.json")}


def measure(files: int, moves: int, folder: Path) -> None:
    """Measure an index with this many files, and print it."""
    store = DirectoryStore(folder / "store")
    catalog = Catalog(store, {"nightly": "", "stable": ""})
    people, online = [CryptoSigner.generate_ed25519() for _ in range(4)], CryptoSigner.generate_ed25519()
    wishes = ceremony.Wishes(
        roots=[signer.public_key for signer in people[:3]],
        threshold=2,
        targets=people[3].public_key,
        online=[online.public_key],
        channels=("nightly", "stable"),
    )
    repository = Repository(catalog, [online])
    made = ceremony.begin(folder / "ceremony", datetime.now(UTC), wishes)
    for signer in (people[0], people[1], people[3]):
        ceremony.sign(made, signer)
    ceremony.publish(made, repository)
    records = fill(catalog, files)
    repository.refresh()
    seconds, written = [], []
    for number in range(moves):
        session = f"m{number:021}"
        extra = record(files + number, OF_PROJECT)
        catalog.record_file(extra, b"m", extra.filename.encode(), session)
        move(catalog, session)
        before, begun = signed_sizes(folder / "store"), time.process_time()
        repository.refresh()
        seconds.append(time.process_time() - begun)
        after = signed_sizes(folder / "store")
        written.append(sum(size for name, size in after.items() if name not in before))
    newest = {role: repository.newest(role) for role in ("root", "targets", "snapshot", "timestamp")}
    newest["channel-nightly"] = repository.newest("channel-nightly")
    sizes = signed_sizes(folder / "store")
    whole = sum(sizes[f"tuf/{role}/{version}.json"] for role, version in newest.items())
    print(f"{files} files, {moves} moves")
    print(
        f"  signing a move: median {statistics.median(seconds) * 1e3:.1f} ms of CPU, "
        f"{min(seconds) * 1e3:.1f} to {max(seconds) * 1e3:.1f}; {max(written)} bytes at most"
    )
    print(f"  documents that count now: {whole} bytes in {len(newest)}")
    head, usual = catalog.head("nightly"), {each.filename: usual_target(each) for each in records}
    assert head is not None  # noqa: S101 - it was just moved
    one = Metadata(Targets(expires=datetime.now(UTC).replace(microsecond=0), targets=usual))
    one.sign(online)
    print(
        f"  an entry of the journal: {store.size(f'journal/nightly/{head.serial}.json')} bytes; "
        f"the snapshot: {store.size(f'snapshots/{head.snapshot}.json')} bytes; "
        f"all wheels as targets of one role would be {len(one.to_bytes())} bytes"
    )
    root, state = store.get("tuf/root/1.json"), folder / "state"
    wanted = [
        Wanted(each.project, each.sha256, each.filename) for each in records[:: max(files // LOCKED, 1)]
    ]
    for what in ("first", "again", "one move later"):
        if what == "one move later":
            extra = record(files + moves, OF_PROJECT)
            catalog.record_file(extra, b"m", extra.filename.encode(), "z" * 22)
            move(catalog, "z" * 22)
            repository.refresh()
        server, begun = Server(catalog), time.process_time()
        judge = Judge(Ledger(server, root, state), server)
        judged = [judge.judge(each) for each in wanted[:LOCKED]]
        used = time.process_time() - begun
        assert all(each.found for each in judged)  # noqa: S101 - the figures would mean nothing
        print(
            f"  verifying {len(judged)} files, {what}: {server.requests} requests, {server.bytes} bytes, "
            f"{used:.2f} s of CPU, server included"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, action="append", help="wheels of the index; repeatable")
    parser.add_argument("--moves", type=int, default=100, help="moves that are measured (default: 100)")
    asked = parser.parse_args()
    for files in asked.files or [100, 10_000]:
        with tempfile.TemporaryDirectory(prefix="armwheels-signing-") as folder:
            measure(files, asked.moves, Path(folder))


if __name__ == "__main__":
    main()
