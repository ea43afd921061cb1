"""armwheels-audit: exit codes, output, and which llvm-mc it takes. No wheel here has code to decode."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from builder.audit_cli import find_llvm_mc, make_app
from builder.commands.terminal import run
from builder.errors import ConfigError, ToolboxError
from tests.helpers.elf_builder import EM_X86_64, ElfFile, make_wheel
from tests.helpers.sarif import results_of

PURE = "m-1.0-py3-none-any.whl"


def program(path: Path, release: int | None, targets: str = "aarch64") -> Path:
    """A program that says of which LLVM it is, as llvm-mc does; it decodes nothing."""
    version = f"Debian LLVM version {release}.1.7\n\n  Registered Targets:\n    {targets} - x\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{version if release else 'something else'}\nEND\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def llvm(tmp_path: Path) -> Path:
    return program(tmp_path / "tools/llvm-mc", 19)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return make_wheel(tmp_path, {"m.py": b""}, name=PURE)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return make_wheel(tmp_path, {"m/m.so": ElfFile(machine=EM_X86_64).build()})


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken-1.0-py3-none-any.whl"
    path.write_bytes(b"no zip file")
    return path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(make_app(), [str(one) for one in arguments])


class TestExitCodes:
    def test_passed(self, llvm: Path, good: Path) -> None:
        assert call(good, "--llvm-mc", llvm).exit_code == 0

    def test_a_check_failed(self, llvm: Path, bad: Path) -> None:
        assert call(bad, "--llvm-mc", llvm).exit_code == 1

    def test_a_wheel_that_cannot_be_read_is_another_code(self, llvm: Path, broken: Path) -> None:
        assert call(broken, "--llvm-mc", llvm).exit_code == 8

    def test_the_worst_wheel_decides_and_all_are_judged(
        self, llvm: Path, good: Path, bad: Path, broken: Path
    ) -> None:
        assert call(bad, good, "--llvm-mc", llvm).exit_code == 1
        done = call(broken, bad, good, "--json", "--llvm-mc", llvm)
        assert done.exit_code == 8
        reports = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(one["filename"], one["passed"]) for one in reports] == [(bad.name, False), (good.name, True)]

    @pytest.mark.parametrize("arguments", [(), ("/nowhere/a.whl",), ("--gone",)])
    def test_a_wrong_command_line(self, arguments: tuple[str, ...]) -> None:
        assert call(*arguments).exit_code == 2

    def test_an_unknown_target_and_wrong_rules(self, llvm: Path, good: Path, tmp_path: Path) -> None:
        assert isinstance(call(good, "--target", "gravitton3", "--llvm-mc", llvm).exception, ConfigError)
        rules = tmp_path / "rules.toml"
        rules.write_text('[[allow]]\nmember = "*"\n')
        assert isinstance(call(good, "--allow", rules, "--llvm-mc", llvm).exception, ConfigError)

    @pytest.mark.parametrize(
        ("error", "code"), [(ConfigError("x"), 3), (ToolboxError("x"), 4), (ValueError("x"), 70)]
    )
    def test_errors_end_the_program_with_their_code(self, error: Exception, code: int) -> None:
        def fail() -> None:
            raise error

        with pytest.raises(SystemExit) as end:
            run(fail)
        assert end.value.code == code


class TestOutput:
    def test_quiet_shows_failed_wheels_only(self, llvm: Path, good: Path, bad: Path) -> None:
        assert call(good, "--quiet", "--llvm-mc", llvm).stdout == ""
        done = call(good, bad, "--quiet", "--json", "--llvm-mc", llvm)
        assert [json.loads(line)["filename"] for line in done.stdout.splitlines()] == [bad.name]

    def test_sarif_covers_all_wheels(
        self, llvm: Path, good: Path, bad: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        file = tmp_path / "out.sarif"
        assert call(good.name, bad, bad, "--sarif", file, "--llvm-mc", llvm).exit_code == 1
        log = json.loads(file.read_text(encoding="utf-8"))
        assert {result["ruleId"] for result in results_of(log)} >= {"machine"}
        places = [one["location"]["uri"] for one in log["runs"][0]["artifacts"]]
        assert places == [good.name, bad.as_uri()]

    def test_sarif_is_written_of_a_wheel_that_cannot_be_read(
        self, llvm: Path, broken: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "out.sarif"
        assert call(broken, "--sarif", file, "--llvm-mc", llvm).exit_code == 8
        log = json.loads(file.read_text(encoding="utf-8"))
        assert results_of(log) == []
        assert log["runs"][0]["invocations"][0]["executionSuccessful"] is False

    def test_a_folder_that_is_not_there_is_named(self, llvm: Path, good: Path) -> None:
        done = call(good, "--sarif", "/nowhere/out.sarif", "--llvm-mc", llvm)
        assert isinstance(done.exception, ConfigError)
        assert str(done.exception).startswith("/nowhere/out.sarif: cannot be written")


class TestLlvm:
    @pytest.fixture(autouse=True)
    def path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        monkeypatch.delenv("ARMWHEELS_LLVM_MC", raising=False)
        monkeypatch.setattr("builder.audit_cli.os.get_exec_path", lambda: [str(folder)])
        return folder

    def test_the_plain_name_comes_first(self, path: Path) -> None:
        program(path / "llvm-mc-19", 19)
        plain = program(path / "llvm-mc", 21)
        assert find_llvm_mc() == plain

    def test_an_old_plain_one_is_passed_over(self, path: Path) -> None:
        program(path / "llvm-mc", 14)
        program(path / "llvm-mc-16", 16)
        program(path / "llvm-mc-20", 20)
        assert find_llvm_mc() == path / "llvm-mc-20"

    def test_the_message_says_what_was_found_and_what_to_install(self, path: Path) -> None:
        program(path / "llvm-mc", 14)
        program(path / "llvm-mc-19", 19, targets="x86-64")
        with pytest.raises(ToolboxError) as refused:
            find_llvm_mc()
        lines = str(refused.value).splitlines()
        assert lines[0] == "the audit needs llvm-mc of LLVM 19 or later"
        assert lines[1] == f"{path}/llvm-mc: is of LLVM 14"
        assert lines[2] == f"{path}/llvm-mc-19: was built without AArch64"
        assert "apt install llvm-19" in lines[3]

    def test_a_named_one_is_the_only_one_tried(
        self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program(path / "llvm-mc", 19)
        old = program(tmp_path / "old", 18)
        with pytest.raises(ToolboxError, match="old: is of LLVM 18"):
            find_llvm_mc(old)
        monkeypatch.setenv("ARMWHEELS_LLVM_MC", str(program(tmp_path / "mine", 22)))
        assert find_llvm_mc() == tmp_path / "mine"
        monkeypatch.setenv("ARMWHEELS_LLVM_MC", "/nowhere/llvm-mc")
        with pytest.raises(ToolboxError, match="/nowhere/llvm-mc: does not run"):
            find_llvm_mc()

    def test_another_program_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(ToolboxError, match="does not say that it is of LLVM"):
            find_llvm_mc(program(tmp_path / "other", None))
