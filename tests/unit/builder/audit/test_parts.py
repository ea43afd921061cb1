"""The pieces of an audit: the decoder's answers, expectations, symbols, the table."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

from builder.audit import AuditReport, Verdict, elf, table
from builder.audit.decode import LlvmMc, refused_lines, spell
from builder.errors import AuditError
from builder.model.expectations import AllowedCode, Expectations
from builder.model.extensions import EXTENSION_NAMES
from tests.helpers.elf_builder import ET_REL, RET, ElfFile, Function

WHOLE = ElfFile().build()

# What llvm-mc 19.1.7 wrote to standard error for two words it refused and one it only doubted.
STDERR = b"""<stdin>:2:1: warning: invalid instruction encoding
0x01 0xbc 0x20 0x04
^
<stdin>:5:1: warning: potentially undefined instruction encoding
0x21 0x00 0x40 0xa9
^
<stdin>:12:1: warning: invalid instruction encoding
0x03 0xbc 0x20 0x04
^
"""


class TestDecoder:
    def test_reads_the_lines_that_were_refused(self) -> None:
        assert refused_lines(STDERR).tolist() == [1, 11]

    @given(st.lists(st.integers(0, 2**32 - 1)))
    def test_spells_words_in_memory_order(self, words: list[int]) -> None:
        lines = spell(np.array(words, dtype=np.uint32)).decode().splitlines()
        read = [int.from_bytes(bytes(int(byte, 16) for byte in line.split()), "little") for line in lines]
        assert read == words

    def tool(self, folder: Path, script: str) -> LlvmMc:
        path = folder / "llvm-mc"
        path.write_text(f"#!/bin/sh\ncat > /dev/null\n{script}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return LlvmMc(path)

    def test_a_tool_too_old_for_the_cpu_is_an_error(self, tmp_path: Path) -> None:
        message = "'neoverse-v3' is not a recognized processor for this target (ignoring processor)"
        with pytest.raises(AuditError, match=r"too old for this target.*neoverse-v3"):
            self.tool(tmp_path, f'echo "{message}" >&2').decodable(
                np.array([1], dtype=np.uint32), "neoverse-v3"
            )

    def test_a_tool_that_fails_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(AuditError, match="exit code 3: no such thing"):
            self.tool(tmp_path, "echo no such thing >&2; exit 3").decodable(
                np.array([1], dtype=np.uint32), "generic"
            )

    def test_a_missing_tool_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(AuditError, match="does not run"):
            LlvmMc(tmp_path / "none").decodable(np.array([1], dtype=np.uint32), "generic")

    def test_no_words_need_no_llvm_mc(self, tmp_path: Path) -> None:
        assert LlvmMc(tmp_path / "none").decodable(np.zeros(0, dtype=np.uint32), "generic").tolist() == []


class TestExpectations:
    def test_a_recipes_spelling_is_read(self) -> None:
        spelled = {
            "promises": ["sve"],
            "allow": [{"member": "n.libs/*", "symbol": ".*_SVE", "why": "picked"}],
        }
        found = Expectations.model_validate(spelled)
        assert found.allow[0].covers("n.libs/x.so", "gemm_SVE")
        assert not found.allow[0].covers("n.libs/x.so", None)
        assert found.flags is None

    @pytest.mark.parametrize(
        ("spelled", "message"),
        [
            ({"promises": ["sve3"]}, "no such extension: sve3"),
            ({"allow": [{"member": "*", "symbol": "(", "why": "x"}]}, "not a regular expression"),
            ({"allow": [{"member": "*"}]}, "why"),
            ({"max_size_bytes": 0}, "greater than 0"),
        ],
    )
    def test_faults_in_expectations_are_named(self, spelled: dict[str, object], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            Expectations.model_validate(spelled)

    def test_a_rule_for_an_archive_covers_its_objects(self) -> None:
        assert AllowedCode(member="lib/*.a", why="x").covers("lib/libk.a(k.o)", None)
        assert not AllowedCode(member="lib/*.a(j.o)", why="x").covers("lib/libk.a(k.o)", None)

    def test_extension_names_are_distinct(self) -> None:
        assert len(EXTENSION_NAMES) == len(set(EXTENSION_NAMES))


class TestSymbols:
    def test_by_size_and_to_the_next_where_none_is_given(self) -> None:
        functions = [
            Function("sized", (RET, RET), size=4),
            Function("open", (RET, RET), size=0),
            Function("last", (RET,)),
        ]
        (code,) = elf.read("m.so", ElfFile(functions=functions).build()).code()
        symbols = elf.read("m.so", ElfFile(functions=functions).build()).symbols
        at = symbols.at(np.uint64(code.address) + np.arange(6, dtype=np.uint64) * np.uint64(4))
        assert [symbols.name(index) if index >= 0 else None for index in at.tolist()] == [
            "sized", None, "open", "open", "last", None,
        ]  # fmt: skip

    def test_symbols_of_object_files_are_found_by_section(self) -> None:
        read = elf.read("k.o", ElfFile(kind=ET_REL, functions=[Function("k", (RET,))]).build())
        (code,) = read.code()
        symbols = read.symbols
        assert symbols.name(int(symbols.at(np.array([code.address], dtype=np.uint64))[0])) == "k"

    @given(st.integers(0, len(WHOLE) - 1))
    def test_a_file_cut_short_is_malformed(self, length: int) -> None:
        with pytest.raises(elf.MalformedElfError):
            list(elf.read("m.so", WHOLE[:length]).code())


class TestTable:
    def test_draws_marks_reasons_and_judgement(self) -> None:
        verdicts = (
            Verdict(check="machine", outcome="pass", detail="fine"),
            Verdict(check="rpath", outcome="fail", detail="first\nsecond"),
            Verdict(check="size", outcome="not-applicable", detail="no limit"),
        )
        report = AuditReport(
            filename="m.whl", sha256="ab", size=1, target="generic", passed=False, verdicts=verdicts
        )
        console = Console(width=80, record=True, file=None, quiet=False)
        with console.capture() as capture:
            console.print(table.draw(report))
        text = capture.get()
        assert "✓  machine" in text
        assert "✗  rpath" in text
        assert "second" in text
        assert text.rstrip().endswith("failed: rpath")
