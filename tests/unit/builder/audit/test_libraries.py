"""Libraries that choose code by the CPU: how a file with one is recognised, and what their rules permit."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from builder.audit import elf
from builder.audit.libraries import embedded, known_libraries
from builder.model.expectations import DispatchLibrary
from tests.helpers.auditor import SO, Auditor, failures
from tests.helpers.elf_builder import LDADD, RET, SVE_FADD, ElfFile, Function, make_wheel

BLAS = DispatchLibrary(
    name="OpenBLAS",
    strings=("OpenBLAS 0.",),
    version_string="OpenBLAS 0.",
    functions=".*_NEOVERSEV1",
    extensions=("sve",),
    how="DYNAMIC_ARCH",
)
TEXT = b"\0OpenBLAS 0.3.30 DYNAMIC_ARCH\0"


def read(image: bytes) -> elf.Elf:
    return elf.read("m.so", image)


def test_a_string_of_the_file_names_the_library_and_its_version() -> None:
    [found] = embedded(read(ElfFile().build() + TEXT), [BLAS])
    assert str(found) == "OpenBLAS 0.3.30"


def test_a_symbol_names_it_too() -> None:
    by_symbol = BLAS.model_copy(update={"strings": (), "symbols": ("gotoblas_init",), "version_string": None})
    image = ElfFile(functions=[Function("gotoblas_init", (RET,))]).build()
    assert [str(one) for one in embedded(read(image), [by_symbol])] == ["OpenBLAS"]
    assert embedded(read(ElfFile(functions=[Function("other", (RET,))]).build()), [by_symbol]) == ()


@pytest.mark.parametrize(
    ("symbol", "extension", "chosen"),
    [
        ("dgemm_kernel_NEOVERSEV1", "sve", True),
        ("dgemm_kernel_NEOVERSEV1", "lse", False),
        ("dgemm_kernel", "sve", False),
        (None, "sve", False),
    ],
)
def test_a_rule_is_for_names_and_extensions(symbol: str | None, extension: str, chosen: bool) -> None:
    assert BLAS.chooses(symbol, extension) is chosen


def test_named_kernels_are_set_aside_and_others_are_not(audit: Auditor, tmp_path: Path) -> None:
    kernel = Function("dgemm_kernel_NEOVERSEV1", (SVE_FADD, RET))
    plain = ElfFile(functions=[kernel, Function("f", (RET,))])
    report = audit.path(make_wheel(tmp_path, {SO: plain.build() + TEXT}))
    assert "instructions" not in failures(report)
    assert "OpenBLAS 0.3.30: DYNAMIC_ARCH" in report.verdict("instructions").detail
    lse = ElfFile(functions=[kernel, Function("dgemm_beta_NEOVERSEV1", (LDADD, RET))])
    report = audit.path(make_wheel(tmp_path, {SO: lse.build() + TEXT}))
    assert "lse" in failures(report)["instructions"]
    assert "instructions" in failures(audit.elf(plain))


def test_the_rules_of_the_project_are_sound() -> None:
    known = known_libraries()
    assert len({one.name for one in known}) == len(known) >= 25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strings": ()}, "needs strings or symbols"),
        ({"functions": "("}, "not a regular expression"),
        ({"extensions": ("svee",)}, "no such extension: svee"),
    ],
)
def test_a_rule_with_a_fault_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DispatchLibrary.model_validate(BLAS.model_dump() | change)
