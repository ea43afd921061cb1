"""The command ``armwheels-index``: exit codes, help, and what it prints."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from index_server import cli
from index_server.settings import ROOT, load_settings, passport_validator, store_address
from index_server.store.folder import DirectoryStore

runner = CliRunner()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder and configs of the test's own."""
    configs = tmp_path / "configs"
    configs.mkdir()
    for name in ("passport.schema.json", "channels.toml", "matrices.toml", "targets.toml"):
        (configs / name).write_text((ROOT / "configs" / name).read_text())
    monkeypatch.setenv("ARMWHEELS_HOME", str(tmp_path))
    monkeypatch.setenv("ARMWHEELS_CONFIGS", str(configs))
    monkeypatch.delenv("ARMWHEELS_STORE", raising=False)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of the command."""
    monkeypatch.setattr("sys.argv", ["armwheels-index", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    code = caught.value.code
    return code if isinstance(code, int) else 0


def test_a_token_is_printed_alone_and_stored_hashed(home: Path) -> None:
    answer = runner.invoke(cli.make_app(), ["token", "--name", "nightly", "--expires-days", "3"])
    token = answer.stdout.strip()
    assert token.startswith("awt_")
    assert len(token.split()) == 1
    stored = [path.read_text() for path in (home / "store" / "tokens").iterdir()]
    assert len(stored) == 1
    assert token not in stored[0]
    assert '"name":"nightly"' in stored[0]


def test_a_token_for_a_channel_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (
        "token",
        "--name",
        "a",
        "--scope",
        "move:nightyl",
        "--scope",
        "move:stab*",
        "--scope",
        "move:zzz",
    )
    assert run(monkeypatch, *asked) == 3
    text = " ".join(capsys.readouterr().err.split())
    assert (
        "--scope move:nightyl: there is no channel nightyl; did you mean 'nightly'? the channels are" in text
    )
    assert "--scope move:zzz: there is no channel zzz; the channels are nightly, stable" in text
    assert "stab*" not in text
    assert run(monkeypatch, "token", "--name", "a", "--scope", "uplod:*") == 3
    assert "no such scope: uplod:*; did you mean 'upload'?" in " ".join(capsys.readouterr().err.split())
    assert run(monkeypatch, "token", "--name", "a", "--scope", "move:stab*", "--scope", "move:nightly") == 0


def test_an_empty_index_checks_well() -> None:
    answer = runner.invoke(cli.make_app(), ["check", "--deep"])
    assert answer.exit_code == 0
    assert "0 snapshots" in answer.stdout


def test_a_damaged_index_does_not(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    DirectoryStore(home / "store").create("journal/nightly/1.json", b"{}")
    assert run(monkeypatch, "check") == 1
    assert "damaged" in capsys.readouterr().err


def test_a_port_in_use_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(monkeypatch, "serve", "--port", str(port)) == 5
    assert f"--port {port + 1}" in capsys.readouterr().err


def test_wrong_settings_end_with_exit_code_4(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARMWHEELS_STORE", "floppy:a")
    assert run(monkeypatch, "check") == 4
    for name, text, reason in (
        ("targets.toml", "[generic", "not valid TOML"),
        ("targets.toml", "", "names no target"),
        ("channels.toml", "[api]\n[Nightly]\ndescription = 1", "api.description: the key is missing"),
        ("passport.schema.json", '{"type": 7}', "not a JSON Schema"),
        ("passport.schema.json", "{", "not a JSON Schema"),
    ):
        path = home / "configs" / name
        good = path.read_text()
        path.write_text(text)
        assert run(monkeypatch, "check") == 3
        assert reason in capsys.readouterr().err
        path.write_text(good)
    (home / "configs" / "targets.toml").unlink()
    assert run(monkeypatch, "check") == 3
    assert "cannot be read" in capsys.readouterr().err


def test_the_store_is_a_folder_unless_the_variable_names_another(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store_address() == f"file:{home / 'store'}"
    monkeypatch.setenv("ARMWHEELS_STORE", "file:/elsewhere")
    assert load_settings().store == "file:/elsewhere"


@pytest.mark.parametrize("command", ["serve", "token", "tokens", "revoke", "check"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    answer = runner.invoke(cli.make_app(), [command, "--help"])
    assert answer.exit_code == 0
    assert "Example:" in answer.stdout


def test_the_schema_of_this_project_is_one() -> None:
    path = ROOT / "configs" / "passport.schema.json"
    assert passport_validator(path.read_text(), origin=path)
