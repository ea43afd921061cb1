"""Closed worlds: what is taken from elsewhere, and what never is."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from index_server.access.tokens import MIRROR, make_token
from index_server.api.app import create_app
from index_server.catalog.catalog import Catalog
from index_server.commands import upkeep
from index_server.errors import BadUploadError, ConfigError, MirrorError, ResolveError
from index_server.intake import upload as intake
from index_server.intake.upload import Upload
from index_server.intake.wheel import read_wheel
from index_server.model import SnapshotAnswer, stamp
from index_server.pages.negotiation import JSON
from index_server.policy import Policy
from index_server.settings import Settings
from index_server.upkeep.mirror import Environment, Mirror, Mirrored, serving
from index_server.upkeep.resolve import Upstream, best_wheel, python_version, upstream_of_pip
from tests.helpers.stores import MemoryStore
from tests.helpers.wheels import make_wheel, tuned_wheel

V1 = Environment("neoverse-v1", "cp311")
APP = "app-1.0-py3-none-any.whl"
DEP = "dep-2.0-py3-none-any.whl"
NATIVE = "native-1.0-cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64.whl"


class Elsewhere:
    """An index of others: the files it has, and what it was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.sent: dict[str, bytes] = {}  # to all but pip, in place of what the page describes
        self.asked: list[tuple[str, str]] = []  # path and Range

    def add(self, name: str, requires: str = "") -> None:
        metadata = f"Requires-Dist: {requires}" if requires else ""
        self.files[name] = make_wheel(name, metadata=metadata)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        asked = {name.decode(): value.decode() for name, value in scope["headers"]}
        wanted = asked.get("range", "")
        self.asked.append((scope["path"], wanted))
        kind, name = scope["path"].strip("/").split("/")
        body, status, media = b"", 404, b"text/plain"
        if kind == "simple" and (listed := self._listed(name)):
            page = {"meta": {"api-version": "1.0"}, "name": name, "files": listed}
            body, status, media = orjson.dumps(page), 200, JSON.encode()
        elif kind == "files" and name in self.files:
            body, status = self.files[name], 200
            if not asked["user-agent"].startswith("pip/"):
                body = self.sent.get(name, body)
            if wanted.startswith("bytes=") and wanted.endswith("-"):
                body, status = body[int(wanted[6:-1]) :], 206
        headers = [(b"content-type", media), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def projects(self) -> set[str]:
        return {path.split("/")[2] for path, _ in self.asked if path.startswith("/simple/")}

    def _listed(self, project: str) -> list[dict[str, object]]:
        return [
            {
                "filename": name,
                "url": f"/files/{name}",
                "size": len(data),
                "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
            }
            for name, data in self.files.items()
            if name.partition("-")[0].replace("_", "-") == project
        ]


class Index:
    """Our index, and the other one."""

    def __init__(self, settings: Settings, folder: Path, elsewhere: Elsewhere, url: str) -> None:
        self.settings, self.folder, self.elsewhere = settings, folder, elsewhere
        self.store = MemoryStore()
        self.catalog = Catalog(self.store, settings.channels)
        self.upstream = Upstream(f"{url}/simple/")
        self.told: list[tuple[str, int, int]] = []

    def put(self, name: str, data: bytes, session: str = "s" * 22) -> None:
        """A publisher's own upload."""
        with self.store.scratch() as path:
            path.write_bytes(data)
            digests = {
                "sha256_digest": hashlib.sha256(data).hexdigest(),
                "blake2_256_digest": hashlib.blake2b(data, digest_size=32).hexdigest(),
            }
            upload = Upload(path, {":action": "file_upload"}, name, len(data), digests)
            record, metadata, _ = intake.examine(
                upload,
                partial(read_wheel, targets=self.settings.targets, passport=self.settings.passport),
                at=stamp(self.catalog.now()),
                by="somebody",
            )
            self.catalog.record_file(record, metadata, path, session)

    def publish(self, session: str = "s" * 22) -> None:
        head = self.catalog.head("nightly")
        snapshot = self.catalog.make_snapshot(session, "key", "nightly").id
        serial = head.serial if head else 0
        self.catalog.move("nightly", snapshot_id=snapshot, expected_serial=serial, nonce=session, by="x")

    def mirror(self, *projects: str, environment: Environment = V1, files: tuple[Path, ...] = ()) -> Mirrored:
        run = Mirror(
            self.catalog,
            self.settings,
            Policy(),
            channel="nightly",
            upstream=self.upstream,
            folder=self.folder,
            progress=lambda *told: self.told.append(told),
        )
        return run.run([environment], projects, files)

    def shown(self) -> set[str]:
        head = self.catalog.head("nightly")
        records = self.catalog.snapshot_records(self.catalog.snapshot(head.snapshot)) if head else []
        return {record.filename for record in records}


@pytest.fixture
def index(settings: Settings, tmp_path: Path) -> Iterator[Index]:
    elsewhere = Elsewhere()
    elsewhere.add(APP, "dep>=1")
    elsewhere.add("dep-1.0-py3-none-any.whl")
    elsewhere.add(DEP, "native; platform_machine == 'aarch64'")
    for platform in ("manylinux_2_17_x86_64", "manylinux_2_17_aarch64.manylinux2014_aarch64", "win_amd64"):
        elsewhere.add(f"native-1.0-cp311-cp311-{platform}.whl")
    with serving(elsewhere) as url:
        yield Index(settings, tmp_path / "parts", elsewhere, url)


def test_a_closure_appears_by_one_move(index: Index, tmp_path: Path) -> None:
    first = index.mirror("app")
    assert index.shown() == {APP, DEP, NATIVE}
    assert first.move is not None
    assert first.move.serial == 1
    assert first.downloaded == sum(len(index.elsewhere.files[name]) for name in (APP, DEP, NATIVE))
    assert list(index.folder.iterdir()) == []
    again = index.mirror("app")
    assert (again.downloaded, again.move) == (0, first.move)
    assert again.answer is not None
    assert not again.answer.created
    asked = tmp_path / "asked.txt"
    asked.write_text("dep<2\n")
    index.elsewhere.add("dep-3.0-py3-none-any.whl")  # mirrored names go on getting newer
    assert index.mirror("app").move != first.move
    assert [each.filename for each in index.mirror(files=(asked,)).closure] == ["dep-1.0-py3-none-any.whl"]
    assert index.shown() == {APP, DEP, NATIVE, "dep-3.0-py3-none-any.whl", "dep-1.0-py3-none-any.whl"}


@pytest.mark.parametrize("published", [False, True])
def test_a_private_name_is_never_taken_from_elsewhere(index: Index, *, published: bool) -> None:
    """Dependency confusion: somebody else offers a higher version of what was uploaded here."""
    index.elsewhere.add("dep-99.0-py3-none-any.whl")
    index.put(DEP, make_wheel(DEP))
    if published:
        index.publish()
        done = index.mirror("app")
        assert done.ours == (DEP,)
        assert index.shown() == {APP, DEP}
    else:  # known here, and nothing to show: no reason to look elsewhere
        with pytest.raises(ResolveError, match="dep"):
            index.mirror("app")
        assert index.catalog.head("nightly") is None
    assert index.elsewhere.projects() == {"app"}


def test_a_name_that_became_ours_is_no_longer_mirrored(index: Index) -> None:
    index.mirror("app")
    index.put("dep-1.5-py3-none-any.whl", make_wheel("dep-1.5-py3-none-any.whl"))
    index.publish()
    index.elsewhere.add("dep-99.0-py3-none-any.whl")
    index.elsewhere.asked.clear()
    index.mirror("app")
    assert "dep-99.0-py3-none-any.whl" not in index.shown()
    assert "dep" not in index.elsewhere.projects()


def test_our_tuned_wheels_satisfy_first(index: Index) -> None:
    index.elsewhere.add("demo-9.0-py3-none-any.whl")
    index.elsewhere.add("user-1.0-py3-none-any.whl", "demo")
    name, data = tuned_wheel()
    index.put(name, data)
    index.publish()
    done = index.mirror("user", environment=Environment("graviton3", "cp311"))
    assert done.ours == (name,)
    assert index.mirror("demo").move is None
    assert index.shown() == {name, "user-1.0-py3-none-any.whl"}
    with pytest.raises(ResolveError, match=r"demo.*\n?.*cp312|Python ABI|no wheels with a matching"):
        index.mirror("user", environment=Environment("neoverse-v1", "cp312"))


def test_no_wheel_for_this_platform(index: Index) -> None:
    del index.elsewhere.files[NATIVE]
    with pytest.raises(ResolveError, match="native") as caught:
        index.mirror("app", "dep>=2")
    assert "aarch64" in str(caught.value)
    with pytest.raises(ResolveError, match="no-such-thing"):
        index.mirror("no-such-thing")
    with pytest.raises(ConfigError, match="no target"):
        index.mirror("app", environment=Environment("z80", "cp311"))
    with pytest.raises(ConfigError, match="not a CPython tag"):
        index.mirror("app", environment=Environment("generic", "python3"))


def test_other_bytes_than_the_page_states_are_not_taken(index: Index) -> None:
    name = "bad-1.0-py3-none-any.whl"
    index.elsewhere.add(name)
    index.elsewhere.sent[name] = index.elsewhere.files[name][:-1] + b"x"
    with pytest.raises(MirrorError, match="the index states"):
        index.mirror("bad")
    assert index.catalog.head("nightly") is None
    assert index.catalog.find_record("bad", name) is None
    assert list(index.folder.iterdir()) == []
    del index.elsewhere.sent[name]
    index.mirror("bad")
    assert index.shown() == {name}


def test_a_name_that_was_mirrored_never_gets_other_bytes(index: Index) -> None:
    index.mirror("dep<2")
    index.elsewhere.files["dep-1.0-py3-none-any.whl"] = make_wheel(
        "dep-1.0-py3-none-any.whl", files={"dep/more.py": b""}
    )
    with pytest.raises(MirrorError, match="never refers to other bytes"):
        index.mirror("dep<2")


def test_a_wheel_that_strangers_could_not_upload(index: Index) -> None:
    data = make_wheel(APP)
    index.elsewhere.files[APP] = data + b"trailing"
    with pytest.raises(BadUploadError):
        index.mirror("app")
    assert index.catalog.head("nightly") is None


def test_a_channel_that_moves_meanwhile(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the other move is lost, and the closure is whole all the same."""
    name, data = tuned_wheel()
    index.put(name, data, "r" * 22)
    make_snapshot = index.catalog.make_snapshot

    def overtaken(session: str, key: str, channel: str) -> SnapshotAnswer:
        answer = make_snapshot(session, key, channel)
        if key == "mirror-0":
            index.publish("r" * 22)
        return answer

    monkeypatch.setattr(index.catalog, "make_snapshot", overtaken)
    done = index.mirror("app")
    assert done.move is not None
    assert done.move.serial == 2
    assert index.shown() == {APP, DEP, NATIVE, name}


def test_a_download_goes_on_where_it_stopped(index: Index) -> None:
    data = index.elsewhere.files[NATIVE]
    index.folder.mkdir()
    (index.folder / f"{hashlib.sha256(data).hexdigest()}.part").write_bytes(data[:100])
    done = index.mirror("native")
    assert done.downloaded == len(data) - 100
    assert (f"/files/{NATIVE}", "bytes=100-") in index.elsewhere.asked
    assert index.told[-1] == (NATIVE, len(data), len(data))


def test_the_best_wheel_is_the_one_that_installers_take() -> None:
    names = ["a-1-py3-none-any.whl", "a-1-cp37-abi3-manylinux_2_28_aarch64.whl", "a-1-1-py3-none-any.whl"]
    assert best_wheel(names, "cp311") == names[1]
    builds = ["a-1-9-py3-none-any.whl", "a-1-10-py3-none-any.whl", names[0]]
    assert best_wheel(builds, "cp311") == builds[1]
    assert best_wheel([*names, "a-1-cp311-cp311-manylinux_2_17_aarch64.whl"], "cp311") != names[1]
    assert best_wheel(["a-1-cp311-cp311-manylinux_2_39_aarch64.whl"], "cp311") is None
    assert best_wheel(["a-1-cp311-cp311-manylinux2014_aarch64.whl"], "cp311") is not None
    assert python_version("cp313") == "3.13"


def test_serving_asks_nobody(
    index: Index, settings: Settings, outgoing: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No fall-through: whatever is asked, known or not, the server opens no connection and resolves no name."""
    index.mirror("app")
    http = TestClient(create_app(index.store, settings))
    page = http.get("/nightly/neoverse-v1/simple/app/", headers={"Accept": JSON}).json()
    http.get("/healthz")
    outgoing.clear()
    for path, status in (
        ("/nightly/neoverse-v1/simple/", 200),
        ("/nightly/neoverse-v1/simple/app/", 200),
        ("/nightly/neoverse-v1/simple/numpy/", 404),
        ("/stable/neoverse-v1/simple/app/", 404),
        (page["files"][0]["url"], 200),
        (page["files"][0]["url"] + ".metadata", 200),
        (f"/files/{'0' * 64}/numpy-1.0-py3-none-any.whl", 404),
        ("/", 200),
    ):
        assert http.get(path).status_code == status
    assert outgoing == []


@pytest.fixture
def outgoing() -> Iterator[list[object]]:
    """Every connection and every look-up of a name, as the interpreter reports them (PEP 578)."""
    seen: list[object] = []
    active = [True]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if active and event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen"):
            seen.append((event, arguments))

    sys.addaudithook(hook)
    yield seen
    active.clear()


def test_nobody_else_may_be_called_like_the_mirror() -> None:
    with pytest.raises(ConfigError, match="another name"):
        make_token(MemoryStore(), MIRROR, None)


def test_a_matrix_gives_the_targets_and_pythons_to_mirror_for() -> None:
    assert Environment("neoverse-v1", "cp313") in upkeep.environments_of("quick")
    with pytest.raises(ConfigError, match="no matrix"):
        upkeep.environments_of("none")


@pytest.mark.parametrize(
    ("given", "reason"), [(([], None), "name a project"), ((["app"], None), "name a target and a Python")]
)
def test_missing_arguments_are_named(given: tuple[list[str], None], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        upkeep.mirror(given[0], target=given[1])


def test_pip_says_where_others_wheels_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = http://index.invalid/simple\n"
        "extra-index-url = file:///nowhere http://more.invalid/simple\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    found = upstream_of_pip()
    assert found.default == "http://index.invalid/simple"
    assert "http://more.invalid/simple" in found.extra
    assert not [url for url in found.extra if url.startswith("file:")]


def test_a_wheel_for_a_newer_glibc_is_taken_where_that_is_said() -> None:
    newer = ["a-1-cp311-cp311-manylinux_2_31_aarch64.whl"]
    assert best_wheel(newer, "cp311") is None
    assert best_wheel(newer, "cp311", 31) == newer[0]
