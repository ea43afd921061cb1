"""The commands ``collect`` and ``mirror``: what they print, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from index_server import cli
from index_server.catalog.catalog import Catalog
from index_server.model import sha256_hex
from index_server.store.folder import DirectoryStore
from index_server.upkeep.mirror import Mirror, Mirrored
from index_server.upkeep.resolve import Wanted
from tests.helpers.records import make_record

runner = CliRunner()


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DirectoryStore:
    """An index with one file that nightly shows."""
    monkeypatch.setenv("ARMWHEELS_HOME", str(tmp_path))
    monkeypatch.delenv("ARMWHEELS_STORE", raising=False)
    store = DirectoryStore(tmp_path / "store")
    catalog = Catalog(store, {"nightly": ""})
    record = make_record().model_copy(
        update={"sha256": sha256_hex(b"wheel"), "size": 5, "metadata_sha256": sha256_hex(b"m")}
    )
    with store.scratch() as path:
        path.write_bytes(b"wheel")
        catalog.record_file(record, b"m", path, "s" * 22)
    snapshot = catalog.make_snapshot("s" * 22, "key", "nightly").id
    catalog.move("nightly", snapshot_id=snapshot, expected_serial=0, nonce="n", by="x")
    return store


@pytest.mark.parametrize("command", ["collect", "mirror"])
def test_help_has_an_example(command: str) -> None:
    answer = runner.invoke(cli.make_app(), [command, "--help"])
    assert answer.exit_code == 0
    assert "Example:" in answer.stdout


@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
def test_collect_says_what_is_kept(flags: list[str]) -> None:
    answer = runner.invoke(cli.make_app(), ["collect", *flags])
    assert answer.exit_code == 0, answer.output
    assert "0 files, 0 bytes" in answer.stdout
    assert "kept: 1 snapshots" in answer.stdout
    report = json.loads(runner.invoke(cli.make_app(), ["collect", "--json", *flags]).stdout)
    assert (report["reachable"], report["stored"], report["missing"]) == (1, 1, [])
    assert report["dry_run"] == bool(flags)


def test_collect_fails_where_a_promised_file_is_not_there(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store.remove(next(key for key in store.keys("files/") if key.endswith(".whl")))
    monkeypatch.setattr("sys.argv", ["armwheels-index", "collect"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert "kept files are missing" in capsys.readouterr().err


def test_mirror_prints_what_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def run(self: Mirror, *arguments: object) -> Mirrored:
        asked.extend(arguments)
        self._progress("a.whl", 1, 2)
        wanted = Wanted("a", "1", "a.whl", "http://index.invalid/a.whl", "0" * 64, 2)
        return Mirrored((wanted,), ("ours.whl",), 2, None, None)

    monkeypatch.setattr(Mirror, "run", run)
    answer = runner.invoke(cli.make_app(), ["mirror", "a", "--matrix", "quick"])
    assert answer.exit_code == 0, answer.output
    assert "mirrored: a.whl" in answer.stdout
    assert "ours: ours.whl" in answer.stdout
    assert "1 wheels, 2 bytes downloaded" in answer.stdout
    assert asked[1] == ["a"]
