"""Audits of instructions: what a target lacks, what rules set aside, and each extension by its name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builder.model.expectations import AllowedCode
from tests.helpers.auditor import PLAIN, SO, TUNED, Auditor, failures
from tests.helpers.elf_builder import (
    ADD,
    ET_REL,
    GUARD,
    LDADD,
    NO_INSTRUCTION,
    RET,
    SVE_FADD,
    ElfFile,
    Function,
    make_wheel,
    static_archive,
)


class TestInstructions:
    def test_a_v1_wheel_labelled_n1_fails(self, audit: Auditor) -> None:
        report = audit.elf(TUNED, "neoverse-n1")
        assert failures(report).keys() == {"instructions"}
        assert "2 of 5 do not run on neoverse-n1: sve 2" in failures(report)["instructions"]
        assert f"{SO}: saxpy (sve 2 times)" in failures(report)["instructions"]

    def test_the_same_passes_for_v1(self, audit: Auditor) -> None:
        report = audit.elf(TUNED, "neoverse-v1", promises=("sve", "lse"))
        assert report.passed, failures(report)
        assert report.verdict("tuned-code").data["extensions"] == {"sve": 2, "lse": 1}

    def test_promised_instructions_that_are_not_there_fail(self, audit: Auditor) -> None:
        report = audit.elf(PLAIN, "neoverse-v1", promises=("sve",))
        assert "promised but not found: sve; found: none beyond Armv8-A" in failures(report)["tuned-code"]

    def test_allowed_code_is_set_aside_and_proves_nothing(self, audit: Auditor) -> None:
        rule = AllowedCode(member="m/*", symbol="sax.*", why="chosen at run time")
        report = audit.elf(TUNED, "neoverse-n1", allow=(rule,), promises=("sve", "lse"))
        assert report.verdict("instructions").outcome == "pass"
        assert report.verdict("instructions").data["allowed"] == {"chosen at run time": 2}
        assert (
            "promised but not found: sve (sve only in code chosen at run time)"
            in failures(report)["tuned-code"]
        )

    @pytest.mark.parametrize("rule", [("x/*", None), ("m/*", "saxpy_.*"), ("m/*", "sax")])
    def test_a_rule_covers_only_what_it_names(self, audit: Auditor, rule: tuple[str, str | None]) -> None:
        allowed = AllowedCode(member=rule[0], symbol=rule[1], why="chosen")
        assert "instructions" in failures(audit.elf(TUNED, "neoverse-n1", allow=(allowed,)))

    def test_a_rule_for_a_unit_covers_what_is_local_to_it(self, audit: Auditor) -> None:
        kernel = Function("add", (SVE_FADD, RET), unit="add.SVE256.cpp")
        plain = Function("add", (SVE_FADD, RET), unit="add.DEFAULT.cpp")
        hidden = Function("_M_realloc_insert", (SVE_FADD, SVE_FADD, RET), unit="")
        seen_by_all = Function("grow", (SVE_FADD, RET))
        rule = AllowedCode(member="m/*", unit="*.SVE256.cpp", why="chosen at run time")
        report = audit.elf(ElfFile(functions=[kernel]), allow=(rule,))
        assert report.verdict("instructions").data["allowed"] == {"chosen at run time": 1}
        report = audit.elf(ElfFile(functions=[kernel, plain, hidden, seen_by_all]), allow=(rule,))
        assert "4 of 9 do not run on generic: sve 4" in failures(report)["instructions"]

    def test_a_rule_may_name_a_unit_and_a_symbol(self, audit: Auditor) -> None:
        kernels = [Function(name, (SVE_FADD, RET), unit="k.cpp") for name in ("f_sve", "f")]
        rule = AllowedCode(member="m/*", unit="k.cpp", symbol=".*_sve", why="chosen at run time")
        report = audit.elf(ElfFile(functions=kernels), allow=(rule,))
        assert "1 of 4 do not run on generic: sve 1" in failures(report)["instructions"]

    def test_without_symbols_the_address_is_named(self, audit: Auditor) -> None:
        report = audit.elf(replace(TUNED, stripped=True), "neoverse-n1")
        (top, *_) = report.verdict("instructions").data["places"]
        assert top["function"] in {"PyInit_m", "0xb4"}

    def test_outline_atomics_are_set_aside_by_name_and_by_their_guard(self, audit: Auditor) -> None:
        named = Function("__aarch64_ldadd4_acq_rel", (LDADD, RET))
        guarded = Function("f", (*GUARD, LDADD, RET))
        report = audit.elf(ElfFile(functions=[named, guarded]))
        assert report.passed, failures(report)
        assert report.verdict("instructions").data["allowed"] == {"outline atomics": 2}

    @pytest.mark.parametrize("missing", [0, 1, 2])
    def test_half_a_guard_is_none(self, audit: Auditor, missing: int) -> None:
        words = [ADD if position == missing else word for position, word in enumerate(GUARD)]
        report = audit.elf(ElfFile(functions=[Function("f", (*words, LDADD, RET))]))
        assert "1 of 5 do not run on generic: lse 1" in failures(report)["instructions"]

    def test_what_bolt_left_of_outline_atomics_is_set_aside(self, audit: Auditor) -> None:
        """As in torch 2.15's libtorch_cpu.so: adrp x16; add x16, x16, #292; br x16; cbz w16; the atomic; ret."""
        left = Function("f", (0xB0013250, 0x91049210, 0xD61F0200, 0x34000070, LDADD, RET))
        report = audit.elf(ElfFile(functions=[left]))
        assert report.verdict("instructions").data["allowed"] == {"outline atomics": 1}

    def test_a_guard_excuses_no_other_extension(self, audit: Auditor) -> None:
        report = audit.elf(ElfFile(functions=[Function("f", (*GUARD, SVE_FADD, RET))]))
        assert "sve 1" in failures(report)["instructions"]

    def test_data_within_code_is_set_aside_and_counted(self, audit: Auditor) -> None:
        marked = ElfFile(functions=[Function("f", (RET, SVE_FADD, NO_INSTRUCTION, RET))],
                         mapping=[("$x", 0), ("$d.1", 1), ("$x", 2)])  # fmt: skip
        report = audit.elf(marked)
        assert report.passed, failures(report)
        assert report.verdict("instructions").data["data_words"] == 2

    def test_code_of_static_archives_counts(self, audit: Auditor) -> None:
        archive = static_archive({"k.o": ElfFile(kind=ET_REL, functions=TUNED.functions).build()})
        report = audit.path(make_wheel(audit.folder, {SO: PLAIN.build(), "m/libm.a": archive}))
        assert "m/libm.a(k.o): saxpy (sve 2 times)" in failures(report)["instructions"]

    @pytest.mark.parametrize(
        ("sample", "extension", "fine_on", "not_on"),
        [
            ("mrs x0, rndr", "rng", "ampere1", "neoverse-v1"),
            ("cfinv", "flagm", "neoverse-v1", "neoverse-n1"),
            ("axflag", "flagm2", "neoverse-n2", "neoverse-v1"),
            ("sb", "sb", "neoverse-n2", "neoverse-v1"),
            ("wfet x0", "wfxt", "neoverse-v3", "neoverse-v2"),
            ("mrs x0, DIT", "dit", "neoverse-v1", "neoverse-n1"),
            ("msr DIT, #1", "dit", "neoverse-v1", "neoverse-n1"),
            ("msr SSBS, #1", "ssbs", "ampere1", "neoverse-n1"),
            ("mrs x0, CNTVCTSS_EL0", "ecv", "ampere1", "neoverse-v1"),
            ("dc cvap, x0", "dcpop", "neoverse-n1", "generic"),
            ("dc cvadp, x0", "dcpodp", "neoverse-v1", "neoverse-n1"),
        ],
    )
    def test_what_llvm_decodes_for_every_cpu_is_still_told_apart(
        self, audit: Auditor, sample: str, extension: str, fine_on: str, not_on: str
    ) -> None:
        elf = ElfFile(functions=[Function("f", (audit.decoder.word(sample), RET))])
        assert audit.elf(elf, fine_on, promises=(extension,)).passed
        assert f"{extension} 1" in failures(audit.elf(elf, not_on))["instructions"]

    @pytest.mark.parametrize(
        ("sample", "extension"),
        [
            ("smstart", "sme"),
            ("mrs x0, TPIDR2_EL0", "sme"),
            ("mrs x0, SVCR", "sme"),
            ("msr TCO, #1", "mte"),
            ("dc gva, x0", "mte"),
            ("mrs x0, FPMR", "fpmr"),
            ("mrs x0, GCSPR_EL0", "gcs"),
            ("gcspushm x0", "gcs"),
            ("mrs x0, POR_EL0", "poe"),
            ("tstart x0", "tme"),
            ("cfp rctx, x0", "el1"),
            ("msr DAIFSet, #1", "el1"),
            ("mrs x0, SCTLR_EL1", "el1"),
        ],
    )
    def test_system_instructions_that_no_target_has(
        self, audit: Auditor, sample: str, extension: str
    ) -> None:
        elf = ElfFile(functions=[Function("f", (audit.decoder.word(sample), RET))])
        for target in audit.cpus:
            report = audit.elf(elf, target).verdict("instructions")
            assert report.outcome == "fail", target
            assert report.data["violations"] == {extension: 1}

    @pytest.mark.parametrize(
        "sample", ["mrs x0, ID_AA64ISAR0_EL1", "mrs x0, CTR_EL0", "mrs x0, CNTVCT_EL0", "dc zva, x0"]
    )
    def test_system_instructions_that_every_program_may_use(self, audit: Auditor, sample: str) -> None:
        assert audit.elf(ElfFile(functions=[Function("f", (audit.decoder.word(sample), RET))])).passed

    @pytest.mark.parametrize(
        ("sample", "extension"),
        [
            ("crc32b w0,w1,w2", "crc"),
            ("sqrdmlah v0.4s,v1.4s,v2.4s", "rdm"),
            ("fadd v0.8h,v1.8h,v2.8h", "fp16"),
            ("udot v0.4s,v1.16b,v2.16b", "dotprod"),
            ("ldapr w0,[x1]", "rcpc"),
            ("bfdot v0.4s,v1.8h,v2.8h", "bf16"),
            ("bfdot z0.s,z1.h,z2.h", "sve-bf16"),
            ("smmla v0.4s,v1.16b,v2.16b", "i8mm"),
            ("smmla z0.s,z1.b,z2.b", "sve-i8mm"),
            ("fadd z0.s,z1.s,z2.s", "sve"),
            ("whilege p0.s,x0,x1", "sve2"),
            ("stg x0,[x1]", "mte"),
        ],
    )
    def test_each_extension_is_told_by_its_own_name(
        self, audit: Auditor, sample: str, extension: str
    ) -> None:
        elf = ElfFile(functions=[Function("f", (audit.decoder.word(sample), RET))])
        assert audit.elf(elf).verdict("instructions").data["violations"] == {extension: 1}
