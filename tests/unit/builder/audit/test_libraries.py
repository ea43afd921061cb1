"""Libraries that choose code by the CPU: how a file with one is recognised, and what their rules permit."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from builder.audit import elf
from builder.audit.libraries import embedded, known_libraries
from builder.model.expectations import DispatchLibrary
from tests.helpers.auditor import SO, Auditor, failures
from tests.helpers.elf_builder import (
    ET_REL,
    LDADD,
    RET,
    SVE_FADD,
    ElfFile,
    Function,
    make_wheel,
    static_archive,
)

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


@pytest.mark.parametrize(
    ("library", "function"),
    [
        ("OpenSSL", "aes_gcm_enc_256_kernel"),
        ("OpenSSL", "unroll8_eor3_aes_gcm_dec_128_kernel"),
        ("OpenSSL", "_vpsm4_ex_enc_8blks"),
        ("Mbed TLS", "mbedtls_aesce_crypt_ecb"),
    ],
)
def test_the_rules_know_functions_of_node(library: str, function: str) -> None:
    """Playwright's wheel has Node.js, with its symbols."""
    rule = next(one for one in known_libraries() if one.name == library)
    assert rule.chooses(function, "aes")
    assert not rule.chooses(function, "lse")
    assert not rule.chooses("main", "aes")


@pytest.mark.parametrize(("text", "fails"), [(b"\0/proc/cpuinfo\0", False), (b"", True)])
def test_an_object_of_an_archive_counts_with_the_others(
    audit: Auditor, tmp_path: Path, text: bytes, fails: bool
) -> None:
    """blosc2's wheel has libblosc2.a, with zlib-ng's objects: one asks, and another has the kernel."""
    objects = {
        "kernel.o": ElfFile(functions=[Function("f", (LDADD, RET))], kind=ET_REL).build(),
        "asks.o": ElfFile(functions=[Function("g", (RET,))], kind=ET_REL).build() + text,
    }
    wheel = make_wheel(tmp_path, {SO: ElfFile().build(), "m/libm.a": static_archive(objects)})
    assert ("instructions" in failures(audit.path(wheel))) is fails


def test_the_version_is_that_behind_the_name() -> None:
    """libcurl has a table of versions of others in one string with OpenSSL's name."""
    openssl = next(one for one in known_libraries() if one.name == "OpenSSL")
    image = ElfFile().build() + b"\0libssh 9.42 OpenSSL 3.x\0OpenSSL 3.5.1 1 Jul 2025\0"
    assert [str(one) for one in embedded(read(image), [openssl])] == ["OpenSSL 3.5.1"]
