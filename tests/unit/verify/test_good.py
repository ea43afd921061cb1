"""Files that hold: online and offline, from each kind of lock file, and what the program prints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from armwheels_verify import cli
from armwheels_verify.errors import RefusedError, UsageError
from armwheels_verify.judge import Judge
from armwheels_verify.ledger import Ledger
from armwheels_verify.sources import Saved, Saving, read
from armwheels_verify.sources import place as place_of
from armwheels_verify.wanted import read_wanted

from tests.helpers.signed import judged
from tests.unit.verify.conftest import Place

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The program, whose web is the index in memory."""
    monkeypatch.setattr(cli, "Web", lambda _: place.index)
    root = place.folder / "root.json"
    root.write_bytes(place.root)

    def call(*arguments: object) -> tuple[int, str, str]:
        given = ["--root", str(root), "--state", str(place.state()), *map(str, arguments)]
        code = cli.run(given)
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def save(place: Place) -> Path:
    """A folder in which the answers about the wheel were saved."""
    saving = Saving(place.index, place.folder / "saved")
    ledger = Ledger(saving, place.root, place.state("saver"), whole=True)
    assert Judge(ledger, saving).judge(place.wheel).holds
    return place.folder / "saved"


def test_a_signed_wheel_holds(place: Place) -> None:
    [judgement] = judged(place.index, place.root, place.state(), place.wheel)
    assert judgement.reasons == []
    assert [each.kind for each in judgement.statements] == ["audit", "emulation", "provenance"]


def test_a_folder_of_wheels_holds_offline(place: Place, run: Run) -> None:
    code, out, _ = run(
        "--index", "https://wheels.example", "--save", place.folder / "saved", place.index.folder
    )
    assert (code, "2 files, 0 refused" in out) == (0, True)
    code, out, _ = run("--saved", place.folder / "saved", "--json", place.index.folder)
    assert code == 0
    told = json.loads(out)
    assert [file["holds"] for file in told["files"]] == [True, True]
    assert told["files"][0]["statements"][0]["kind"] == "audit"


def test_saved_metadata_expires_unless_another_day_is_named(place: Place) -> None:
    saved = Saved(save(place))
    Ledger(saved, place.root, place.state(), whole=True)
    later = datetime.now(UTC) + timedelta(days=10)
    with pytest.raises(RefusedError, match="freeze"):
        Ledger(saved, place.root, place.state(), whole=True, as_of=later)


def test_an_older_saved_folder_is_a_rollback(place: Place) -> None:
    saved = save(place)
    place.index.upload(salt="newer", wheel_digest="b" * 64)
    judged(place.index, place.root, place.state(), place.wheel)
    with pytest.raises(RefusedError, match="rollback"):
        Ledger(Saved(saved), place.root, place.state(), whole=True)


def test_an_index_without_files_to_look_at_shows_all_that_its_channels_show(place: Place, run: Run) -> None:
    code, out, _ = run("--index", "https://wheels.example")
    assert code == 0
    assert place.wheel.filename in out
    assert "2 files, 0 refused" in out


def test_a_refusal_is_printed_with_exit_code_1(place: Place, run: Run) -> None:
    wheel = place.index.folder / place.wheel.filename
    wheel.write_bytes(wheel.read_bytes() + b"x")
    code, out, _ = run("--index", "https://wheels.example", wheel)
    assert code == 1
    assert "another file has this name" in out
    (place.folder / "root.json").write_bytes(place.root.replace(b'"sig":"', b'"sig":"00', 1))
    code, out, err = run("--index", "https://wheels.example", wheel)
    assert (code, out) == (1, "")
    assert "not signed by enough keys" in err
    code, out, _ = run("--index", "https://wheels.example", "--json", wheel)
    assert (code, json.loads(out)["holds"]) == (1, False)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "name either --index URL or --saved FOLDER"),
        (("--index", "u", "--saved", "s"), "name either --index URL or --saved FOLDER"),
        (("--index", "u", "--channel", "gone"), "there is no channel gone"),
        (("--index", "u", "no-such-file.txt"), "cannot be read"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(run: Run, arguments: tuple[str, ...], told: str) -> None:
    code, _, err = run(*arguments)
    assert (code, told in err) == (2, True)


def test_a_statement_may_be_demanded_of_each_file(place: Place, run: Run) -> None:
    code, out, _ = run("--index", "u", "--require", "bench", place.index.folder)
    assert code == 1
    assert "bench: the statement is missing" in out


# Lock files


def locks(place: Place) -> dict[str, str]:
    sha256, filename = place.wheel.sha256, place.wheel.filename
    url = f"https://wheels.example/files/{sha256}/{filename.replace('+', '%2B')}"
    return {
        "requirements.txt": (
            "--index-url https://wheels.example/nightly/neoverse-v1/simple/\n"
            f"demo==1.0+neoverse.v1 ; python_version >= '3.11' \\\n    --hash=sha256:{sha256}  # why\n"
        ),
        "uv.lock": (
            'version = 1\n[[package]]\nname = "mine"\nversion = "1"\nsource = { virtual = "." }\n'
            '[[package]]\nname = "demo"\nversion = "1.0+neoverse.v1"\n'
            'source = { registry = "https://wheels.example/nightly/neoverse-v1/simple/" }\n'
            f'wheels = [{{ url = "{url}", hash = "sha256:{sha256}" }}]\n'
        ),
        "pylock.toml": (
            'lock-version = "1.0"\ncreated-by = "test"\n[[packages]]\nname = "demo"\nversion = "1.0+neoverse.v1"\n'
            f'[[packages.wheels]]\nname = "{filename}"\nurl = "{url}"\nhashes = {{ sha256 = "{sha256}" }}\n'
        ),
    }


@pytest.mark.parametrize("name", ["requirements.txt", "uv.lock", "pylock.toml"])
def test_the_files_of_a_lock_hold(place: Place, run: Run, name: str) -> None:
    path = place.folder / name
    path.write_text(locks(place)[name])
    code, out, _ = run("--index", "https://wheels.example", path)
    assert (code, "1 files, 0 refused" in out) == (0, True), out
    path.write_text(locks(place)[name].replace(place.wheel.sha256, "e" * 64))
    code, out, _ = run("--index", "https://wheels.example", path)
    assert (code, "REFUSED" in out) == (1, True)
    path.write_text(locks(place)[name].replace("sha256:", "sha512:").replace("sha256 =", "sha512 ="))
    code, out, _ = run("--index", "https://wheels.example", path)
    assert (code, "REFUSED" in out) == (1, True)


def test_the_servers_own_lock_file_holds(place: Place, run: Run) -> None:
    snapshot = place.index.catalog.snapshot_ids()[-1]
    lock = place.index.get(f"snapshots/{snapshot}/neoverse-v1/pylock.toml?project=demo&python=3.11")
    (place.folder / "pylock.toml").write_bytes(lock)
    assert run("--index", "http://testserver", place.folder / "pylock.toml")[0] == 0


def test_files_of_other_indexes_are_refused_or_passed_over(place: Place, run: Run) -> None:
    path = place.folder / "uv.lock"
    other = (
        '[[package]]\nname = "idna"\nversion = "3"\nsource = { registry = "https://other.example/simple" }\n'
        f'wheels = [{{ url = "https://other.example/idna-3-py3-none-any.whl", hash = "sha256:{"0" * 64}" }}]\n'
    )
    path.write_text(locks(place)["uv.lock"] + other)
    assert run("--index", "https://wheels.example", path)[0] == 1
    assert run("--index", "https://wheels.example", "--ignore-others", path)[0] == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [("uv.lock", "not toml ="), ("pylock.toml", 'lock-version = "9"'), ("requirements.txt", "a b c")],
)
def test_files_that_are_no_locks_are_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError):
        read_wanted(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no wheels"):
        read_wanted(tmp_path / "empty")


def test_a_wheel_whose_name_is_none_is_refused(place: Place, run: Run) -> None:
    wheel = place.index.folder / place.wheel.filename
    shutil.copy(wheel, place.folder / "nameless.whl")
    assert run("--index", "u", place.folder / "nameless.whl")[0] == 1
    other = place.folder / wheel.name.replace("demo-1.0", "demo-1.1")
    shutil.copy(wheel, other)
    code, out, _ = run("--index", "u", other)
    assert (code, "under another name" in out) == (1, True)


def test_nothing_is_read_outside_a_saved_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "saved").mkdir()
    for path in ("../secret", "/etc/passwd", "a//b", "a/./b"):
        with pytest.raises(RefusedError):
            place_of(tmp_path / "saved", path)
    with pytest.raises(FileNotFoundError):
        read(Saved(tmp_path / "saved"), "tuf/timestamp.json", 10)


@pytest.mark.parametrize("label", ["", "-armv8.2a"])
@pytest.mark.parametrize("build", ["", "-1_3fa9c2d1"])
def test_a_folder_may_hold_wheel_variants(tmp_path: Path, build: str, label: str) -> None:
    name = f"a_b-1.0+generic{build}-cp311-cp311-manylinux_2_28_aarch64{label}.whl"
    (tmp_path / name).write_bytes(b"")
    [wanted] = read_wanted(tmp_path)
    assert (wanted.project, wanted.filename, wanted.fault) == ("a-b", name, "")
