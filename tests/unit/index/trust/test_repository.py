"""What the server signs: at every moment clients can read it, and it continues what was signed before."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from armwheels_verify.errors import RefusedError
from armwheels_verify.ledger import Ledger
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from index_server.catalog.catalog import Catalog
from index_server.errors import ConfigError, DamagedError, NotFoundError, NotSignedError
from index_server.model import StoreMark, sha256_hex
from index_server.pages.files import StoredFile
from index_server.pages.signed import Signed
from index_server.store.interface import ObjectStore
from index_server.trust import ceremony
from index_server.trust.repository import Repository
from index_server.upkeep.check import journal_faults, signature_faults
from index_server.upkeep.copy import copy_store
from tests.helpers.records import make_record
from tests.helpers.signed import People
from tests.helpers.stores import DyingStore, KilledError, MemoryStore

CHANNELS = {"nightly": "newest", "stable": "chosen"}
START = datetime.now(UTC)


class House:
    """A store with signed metadata, its keys, and a clock."""

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.people = People()
        self.clock = START
        self.count = itertools.count(1)

    def catalog(self, store: ObjectStore | None = None) -> Catalog:
        return Catalog(store or self.store, CHANNELS, lambda: self.clock)

    def repository(self, *signers: CryptoSigner, store: ObjectStore | None = None) -> Repository:
        return Repository(self.catalog(store), signers or [self.people.online])

    def begin(self) -> None:
        made = ceremony.begin(self.folder / "first", self.clock, self.people.wishes(required=()))
        for signer in (*self.people.roots[:2], self.people.targets):
            ceremony.sign(made, signer)
        ceremony.publish(made, self.repository())

    def wish(self, **wishes: Any) -> ceremony.Folder:
        state = self.repository().state()
        assert state is not None
        asked = ceremony.Wishes(**wishes)
        return ceremony.change(self.folder / "next", self.clock, asked, self.repository(), state)

    def move(self, store: ObjectStore | None = None) -> None:
        """A new file, a snapshot with it, and nightly moved there."""
        number = next(self.count)
        catalog, session = self.catalog(store), f"s{number:021}"
        record = make_record(version=f"1.{number}", digest=f"{number:064x}")
        data = record.filename.encode()
        catalog.record_file(record.model_copy(update={"sha256": sha256_hex(data)}), b"m", data, session)
        made = catalog.make_snapshot(session, session, "nightly")
        head = catalog.head("nightly")
        catalog.move(
            "nightly", snapshot_id=made.id, expected_serial=head.serial if head else 0, nonce=session, by="t"
        )

    def chunks(self, path: str) -> Iterator[bytes]:
        """As a source of armwheels-verify: a server without keys over the store."""
        catalog = self.catalog()
        try:
            answer = Signed(catalog, Repository(catalog)).find(path.removeprefix("tuf/").split("/"))
        except NotFoundError:
            raise FileNotFoundError(path) from None
        yield self.store.get(answer.key) if isinstance(answer, StoredFile) else answer.body

    def read(self, state: str = "client") -> Ledger:
        """What a client reads. It pinned the first root."""
        return Ledger(self, self.store.get("tuf/root/1.json"), self.folder / state, as_of=self.clock)


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(MemoryStore(), tmp_path)
    made.begin()
    return made


def writes(house: House) -> list[str]:
    return [key for key in house.store.keys("") if key.startswith("tuf/")]


def test_before_the_first_move_a_client_reads_an_empty_channel(house: House) -> None:
    assert house.read().journals == {"nightly": [], "stable": []}


def test_a_move_writes_three_small_documents_and_nothing_is_written_without_one(house: House) -> None:
    before = writes(house)
    house.move()
    assert house.repository().refresh()
    new = sorted(set(writes(house)) - set(before))
    assert new == ["tuf/channel-nightly/2.json", "tuf/snapshot/2.json", "tuf/timestamp/2.json"]
    assert sum(house.store.size(key) or 0 for key in new) < 4000
    assert not house.repository().refresh()
    assert len(house.read().journals["nightly"]) == 1


def test_a_server_that_is_killed_anywhere_leaves_what_clients_can_read(house: House) -> None:
    """Killed before and after each write of a move and its signing; a client that has seen all of it reads on."""
    for fuse, after in itertools.product(range(40), (False, True)):
        dying = DyingStore(house.store)
        dying.fuse, dying.after = fuse, after
        try:
            house.move(dying)
            house.repository(store=dying).refresh()
            died = False
        except KilledError:
            died = True
        house.read()
        assert house.repository().state() is not None
        house.repository().refresh()
        entries = house.read().journals["nightly"]
        head = house.catalog().head("nightly")
        assert len(entries) == (head.serial if head else 0)
        if not died:
            break
    else:
        pytest.fail("the fuse was too short")
    assert fuse > 10


def test_of_two_servers_both_sign_and_nothing_is_lost(house: House) -> None:
    dying = DyingStore(house.store)

    def rival() -> None:
        house.move()
        house.repository().refresh()

    for prefix in ("tuf/channel-nightly/", "tuf/snapshot/", "tuf/timestamp/"):
        house.move()
        dying.rival, dying.rival_prefix = rival, prefix
        house.repository(store=dying).refresh()
        head = house.catalog().head("nightly")
        assert head is not None
        assert len(house.read().journals["nightly"]) == head.serial


def change(house: House, key: str, data: bytes | None) -> None:
    house.store.remove(key)
    if data is not None:
        house.store.create(key, data)


def cut_off(house: House) -> None:
    change(house, "journal/nightly/2.json", None)
    change(house, "channels/nightly.json", None)


def replaced(house: House) -> None:
    entry = json.loads(house.store.get("journal/nightly/2.json"))
    change(house, "journal/nightly/2.json", json.dumps({**entry, "by": "x"}).encode())


def grafted(house: House) -> None:
    entry = json.loads(house.store.get("journal/nightly/2.json"))
    forged = {**entry, "serial": 3, "previous_hash": "0" * 64}
    change(house, "journal/nightly/3.json", json.dumps(forged).encode())


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [(cut_off, "entries are lost"), (replaced, "other bytes"), (grafted, "does not continue")],
)
def test_a_journal_that_does_not_continue_is_not_signed(
    house: House, tamper: Callable[[House], None], reason: str
) -> None:
    house.move()
    house.move()
    house.repository().refresh()
    before = writes(house)
    tamper(house)
    house.clock += timedelta(days=2)
    with pytest.raises(NotSignedError, match=reason):
        house.repository().refresh()
    house.repository().refresh_quietly()
    assert writes(house) == before


def test_documents_are_signed_again_at_half_of_their_time(house: House) -> None:
    house.move()
    house.repository().refresh()
    for days, kinds in (
        (1.0, set()),
        (1.0, {"timestamp"}),
        (14.0, {"channel-nightly", "channel-stable", "snapshot", "status", "timestamp"}),
    ):
        before = writes(house)
        house.clock += timedelta(days=days)
        assert house.repository().refresh() == bool(kinds)
        assert {key.split("/")[1] for key in set(writes(house)) - set(before)} == kinds
        house.read()


def test_moves_of_older_servers_are_signed_with_their_snapshots(house: House) -> None:
    house.move()
    old = json.loads(house.store.get("journal/nightly/1.json"))
    del old["snapshot_sha256"]
    change(house, "journal/nightly/1.json", json.dumps(old).encode())
    change(house, "channels/nightly.json", None)  # it has the hash of the entry
    house.move()
    house.repository().refresh()
    ledger = house.read()
    assert "snapshot_sha256" not in ledger.journals["nightly"][0]
    assert list(ledger.projects(ledger.journals["nightly"][0])) == ["demo"]


def test_the_servers_key_is_rotated_by_the_people(house: House) -> None:
    house.move()
    house.repository().refresh()
    house.read()
    fresh = CryptoSigner.generate_ed25519()
    made = house.wish(online=[fresh.public_key])
    assert made.root is not None
    assert (
        made.needed()
        == [
            "0 of 2 signatures of the root role of root 2",
            "0 of 2 signatures of the root role of root 1",
            "0 of 1 signatures of the targets role",
        ][: len(made.needed())]
    )
    for signer in (*house.people.roots[1:], house.people.targets):
        ceremony.sign(made, signer)
    ceremony.publish(made, house.repository(fresh))
    assert house.read().journals["nightly"]
    house.move()
    with pytest.raises(NotSignedError, match="ARMWHEELS_TUF_KEYS"):
        house.repository().refresh()
    assert house.repository(fresh).refresh()
    assert len(house.read().journals["nightly"]) == 2
    assert len(house.read("newcomer").journals["nightly"]) == 2


def test_a_lost_root_key_is_replaced_by_the_others(house: House) -> None:
    one, two, lost = house.people.roots
    new = CryptoSigner.generate_ed25519()
    made = house.wish(roots=[signer.public_key for signer in (one, two, new)])
    for signer in (one, new):
        ceremony.sign(made, signer)
    with pytest.raises(NotSignedError, match="1 of 2 signatures"):  # of the old root
        ceremony.publish(made, house.repository())
    ceremony.sign(made, two)
    ceremony.publish(made, house.repository())
    made = house.wish(renew=True)
    with pytest.raises(NotSignedError, match="is of no role"):
        ceremony.sign(made, CryptoSigner.generate_ed25519())
    for signer in (lost, two, house.people.targets):
        if signer is lost and made.previous is not None:
            with pytest.raises(NotSignedError, match="is of no role"):
                ceremony.sign(made, signer)
        else:
            ceremony.sign(made, signer)
    with pytest.raises(NotSignedError, match="signatures of the root role"):
        ceremony.publish(made, house.repository())
    ceremony.sign(made, new)
    ceremony.publish(made, house.repository())
    house.read()


def test_a_ceremony_that_is_interrupted_is_published_again(house: House) -> None:
    made = house.wish(renew=True)
    for signer in (*house.people.roots[:2], house.people.targets):
        ceremony.sign(made, signer)
    for fuse in range(20):
        dying = DyingStore(house.store)
        dying.fuse, dying.after = fuse, True
        try:
            ceremony.publish(made, house.repository(store=dying))
            break
        except KilledError:
            house.read()
    assert fuse > 2
    state = house.repository().state()
    assert state is not None
    assert (state.root.signed.version, state.targets.signed.version) == (2, 2)
    house.read()


def test_a_folder_of_a_ceremony_is_read_as_it_was_written(house: House, tmp_path: Path) -> None:
    made = house.wish(builders=[CryptoSigner.generate_ed25519().public_key], roots=[], renew=True)
    made.write()
    read = ceremony.read_folder(made.path)
    assert (read.root, read.targets, read.policy, read.previous) == (
        made.root,
        made.targets,
        made.policy,
        made.previous,
    )
    with pytest.raises(ConfigError, match="has neither"):
        ceremony.read_folder(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({}, "nothing changes"),
        ({"ended": ["abc"]}, "no builder has the key abc"),
        ({"threshold": 9}, "9 signatures are asked of 3"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(house: House, wishes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        house.wish(**wishes)


def test_a_root_that_the_people_did_not_sign_is_not_followed(house: House) -> None:
    document: Metadata[Root] = Metadata.from_bytes(house.store.get("tuf/root/1.json"))
    stranger = CryptoSigner.generate_ed25519()
    document.signed.version = 2
    document.signed.add_key(stranger.public_key, "root")
    document.sign(stranger)
    house.store.create("tuf/root/2.json", document.to_bytes())
    with pytest.raises(DamagedError, match="root/2"):
        house.repository().state()


def test_a_changed_policy_is_not_read(house: House) -> None:
    state = house.repository().state()
    assert state is not None
    [key] = [key for key in house.store.keys("tuf/") if "policies" in key]
    change(house, key, house.store.get(key) + b" ")
    with pytest.raises(DamagedError, match="its bytes have changed"):
        house.repository().policy(state.targets.signed)


def test_check_tells_what_is_wrong_with_signed_documents_and_snapshots(house: House) -> None:
    house.move()
    house.repository().refresh()
    assert list(signature_faults(house.catalog())) == []
    assert list(journal_faults(house.catalog(), "nightly")) == []
    [snapshot] = house.store.keys("snapshots/")
    change(house, snapshot, house.store.get(snapshot).replace(b'"parent":null', b'"parent":"20260101-1"'))
    [fault] = journal_faults(house.catalog(), "nightly")
    assert "whose bytes have changed" in fault
    change(house, "tuf/channel-nightly/2.json", None)
    [fault] = signature_faults(house.catalog())
    assert "tuf/channel-nightly/2.json" in fault


def test_a_client_that_asks_often_makes_the_server_look_once_a_second(house: House) -> None:
    house.move()
    repository = house.repository()
    signed = Signed(house.catalog(), repository)
    first = signed.find(["timestamp.json"])
    house.move()
    assert signed.find(["timestamp.json"]) == first
    repository.refresh_quietly()
    assert signed.find(["timestamp.json"]) != first


def test_a_backup_that_is_made_while_a_channel_moves_can_be_signed_on(house: House) -> None:
    house.store.create("store.json", StoreMark(id="a" * 32, at="2026-11-28T00:00:00Z").encode())
    house.move()
    house.repository().refresh()

    class Busy(DyingStore):
        """A store whose channel moves when the copy looks for everything else."""

        def keys(self, prefix: str) -> Iterator[str]:
            if prefix == "":
                house.move()
                house.repository().refresh()
            return super().keys(prefix)

    copy = MemoryStore()
    copy_store(Busy(house.store), copy)
    restored = House(copy, house.folder)
    restored.people = house.people
    assert len(restored.read("newcomer").journals["nightly"]) == 1
    assert not restored.repository().refresh()
    house.read()  # a client of the index has seen the second move
    with pytest.raises(RefusedError, match="rollback"):
        restored.read()
