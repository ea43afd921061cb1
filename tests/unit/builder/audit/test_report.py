"""Whole audits of small real wheels: what passes, and each refusal with its reason."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from builder.audit import AuditReport, observed_flags, open_wheel, passport_target
from builder.audit.report import judge
from builder.errors import AuditError
from builder.model.expectations import AllowedCode, Expectations
from builder.targets import Targets
from tests.helpers.elf_builder import (
    ADD,
    EM_ARM,
    EM_X86_64,
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
from tests.helpers.recorded_decoder import RecordedDecoder

SO = "m/m.cpython-311-aarch64-linux-gnu.so"
V1_FLAG = "-mcpu=neoverse_v1"
V1_LINE = f"zig 0.17.1 {V1_FLAG} -O3"
SHA = "ab" * 32
PLAIN = ElfFile()
TUNED = ElfFile(functions=[Function("saxpy", (SVE_FADD, SVE_FADD, RET)), Function("f", (LDADD, RET))],
                command_lines=(V1_LINE,))  # fmt: skip


class Auditor:
    """Audits wheels with the recorded decoder."""

    def __init__(self, cpus: Targets, decoder: RecordedDecoder, folder: Path) -> None:
        self.cpus, self.decoder, self.folder = cpus, decoder, folder

    def path(self, path: Path, target: str = "generic", **expectations: object) -> AuditReport:
        return judge(
            open_wheel(path), self.cpus[target], Expectations.model_validate(expectations), self.decoder
        )

    def elf(self, elf: ElfFile, target: str = "generic", **expectations: object) -> AuditReport:
        return self.path(make_wheel(self.folder, {SO: elf.build()}), target, **expectations)


@pytest.fixture
def audit(cpus: Targets, decoder: RecordedDecoder, tmp_path: Path) -> Auditor:
    return Auditor(cpus, decoder, tmp_path)


def failures(report: AuditReport) -> dict[str, str]:
    return {verdict.check: verdict.detail for verdict in report.verdicts if verdict.outcome == "fail"}


class TestForeignWheels:
    def test_a_sound_one_passes(self, audit: Auditor) -> None:
        report = audit.elf(PLAIN)
        assert report.passed, failures(report)
        silent = {verdict.check for verdict in report.verdicts if verdict.outcome == "not-applicable"}
        assert silent == {"tuned-code", "flags", "optimisation", "page-size", "licences", "size", "passport"}

    def test_a_pure_one_passes(self, audit: Auditor) -> None:
        report = audit.path(make_wheel(audit.folder, {"m.py": b""}, name="m-1.0-py3-none-any.whl"))
        assert report.passed, failures(report)

    def test_a_report_survives_json(self, audit: Auditor) -> None:
        report = audit.elf(PLAIN)
        assert AuditReport.model_validate_json(report.model_dump_json()) == report

    def test_grafts_of_others_are_no_failure_but_said(self, audit: Auditor) -> None:
        path = make_wheel(audit.folder, {SO: PLAIN.build(), "m.libs/libx-1.so": PLAIN.build()})
        verdict = audit.path(path).verdict("licences")
        assert (verdict.outcome, "without proof" in verdict.detail) == ("not-applicable", True)


class TestMachine:
    @pytest.mark.parametrize(
        ("elf", "message"),
        [
            (ElfFile(machine=EM_X86_64), f"{SO}: 64-bit little-endian x86_64"),
            (ElfFile(machine=EM_ARM, bits=32, kind=ET_REL), "32-bit little-endian arm, not 64-bit Arm"),
            (ElfFile(little_endian=False, kind=ET_REL), "64-bit big-endian aarch64"),
            (ElfFile(sections=False), "no section table"),
        ],
    )
    def test_foreign_machines_fail(self, audit: Auditor, elf: ElfFile, message: str) -> None:
        assert message in failures(audit.elf(elf))["machine"]

    def test_foreign_code_fails_under_any_file_name(self, audit: Auditor) -> None:
        x86 = ElfFile(machine=EM_X86_64).build()
        path = make_wheel(audit.folder, {SO: PLAIN.build(), "m/data/table.py": x86})
        assert "m/data/table.py" in failures(audit.path(path))["machine"]

    def test_foreign_code_in_static_archives_fails(self, audit: Auditor) -> None:
        good = ElfFile(kind=ET_REL).build()
        bad = ElfFile(kind=ET_REL, machine=EM_X86_64).build()
        archive = static_archive({"good.o": good, "a_rather_long_name.o": bad})
        path = make_wheel(audit.folder, {SO: PLAIN.build(), "m/lib/libm.a": archive})
        assert "m/lib/libm.a(a_rather_long_name.o): 64-bit" in failures(audit.path(path))["machine"]

    def test_a_platform_wheel_without_shared_library_fails(self, audit: Auditor) -> None:
        report = audit.path(make_wheel(audit.folder, {"m.py": b""}))
        assert "has no shared library" in failures(report)["machine"]

    def test_a_wheel_for_any_platform_with_elf_fails(self, audit: Auditor) -> None:
        report = audit.path(make_wheel(audit.folder, {SO: PLAIN.build()}, name="m-1.0-py3-none-any.whl"))
        assert "tagged for any platform, but has 1 ELF file" in failures(report)["machine"]

    def test_a_binary_that_record_hides_fails(self, audit: Auditor) -> None:
        files = {SO: PLAIN.build(), "m/x.so": PLAIN.build()}
        path = make_wheel(audit.folder, files, unrecorded=["m/x.so"])
        assert "RECORD does not list 1 file: m/x.so" in failures(audit.path(path))["record"]

    def test_a_damaged_elf_fails(self, audit: Auditor) -> None:
        path = make_wheel(audit.folder, {SO: PLAIN.build(), "m/cut.so": PLAIN.build()[:70]})
        assert "m/cut.so: damaged" in failures(audit.path(path))["machine"]


class TestPlatform:
    def test_symbols_newer_than_the_tag_fail_by_name(self, audit: Auditor) -> None:
        report = audit.elf(ElfFile(needs={"libc.so.6": ("GLIBC_2.17", "GLIBC_2.34")}))
        assert "manylinux_2_34_aarch64 is the lowest tag that they allow" in failures(report)["symbols"]
        assert f"{SO} needs GLIBC_2.34 of libc.so.6" in failures(report)["symbols"]

    def test_symbols_of_libstdcxx_count_too(self, audit: Auditor) -> None:
        needs = {"libc.so.6": ("GLIBC_2.17",), "libstdc++.so.6": ("GLIBCXX_3.4.30",)}
        report = audit.elf(ElfFile(needs=needs, needed=("libc.so.6", "libstdc++.so.6")))
        assert "needs GLIBCXX_3.4.30 of libstdc++.so.6" in failures(report)["symbols"]

    def test_an_older_need_than_claimed_is_fine(self, audit: Auditor) -> None:
        path = make_wheel(
            audit.folder, {SO: PLAIN.build()}, name="m-1.0-cp311-cp311-manylinux_2_31_aarch64.whl"
        )
        assert audit.path(path).verdict("symbols").data["proves"] == "manylinux_2_17_aarch64"

    def test_a_library_from_nowhere_fails(self, audit: Auditor) -> None:
        report = audit.elf(ElfFile(needed=("libc.so.6", "libgomp.so.1")))
        assert (
            "neither in the wheel nor allowed by manylinux_2_17_aarch64: libgomp.so.1"
            in failures(report)["libraries"]
        )

    def test_a_library_in_the_wheel_is_found(self, audit: Auditor) -> None:
        user = ElfFile(needed=("libc.so.6", "libx.so"), rpath="$ORIGIN/../m.libs")
        path = make_wheel(audit.folder, {SO: user.build(), "m.libs/libx.so": PLAIN.build()})
        assert audit.path(path).verdict("libraries").outcome == "pass"

    @pytest.mark.parametrize(
        ("requires", "passes"),
        [
            (["numpy", "Torch==2.6.0"], True),
            ([], False),
            (["torch"], False),
            (["torch==2.5.1"], False),
            (["torch==2.6.0; sys_platform == 'darwin'"], False),
        ],
    )
    def test_a_framework_s_library_passes_where_that_very_framework_is_required(
        self, audit: Auditor, requires: list[str], passes: bool
    ) -> None:
        user = ElfFile(needed=("libc.so.6", "libtorch_cpu.so"))
        path = make_wheel(audit.folder, {SO: user.build()}, requires=requires)
        supplied = {"requirement": "torch==2.6.0", "libraries": ["libtorch_cpu.so"]}
        verdict = audit.path(path, supplied=supplied).verdict("libraries")
        assert (verdict.outcome == "pass") is passes
        assert "torch==2.6.0" in verdict.detail

    def test_what_no_framework_supplies_is_still_missing(self, audit: Auditor) -> None:
        user = ElfFile(needed=("libtorch_cpu.so", "libgomp.so.1"))
        path = make_wheel(audit.folder, {SO: user.build()}, requires=["torch==2.6.0"])
        supplied = {"requirement": "torch==2.6.0", "libraries": ["libtorch_cpu.so"]}
        assert failures(audit.path(path, supplied=supplied))["libraries"].endswith(": libgomp.so.1")

    @pytest.mark.parametrize("platform", ["linux_aarch64", "manylinux_2_17_x86_64", "macosx_11_0_arm64"])
    def test_tags_that_promise_nothing_fail(self, audit: Auditor, platform: str) -> None:
        path = make_wheel(audit.folder, {SO: PLAIN.build()}, name=f"m-1.0-cp311-cp311-{platform}.whl")
        assert set(failures(audit.path(path))) >= {"tag", "symbols", "libraries"}

    def test_metadata_that_disagrees_with_the_name_fails(self, audit: Auditor) -> None:
        path = make_wheel(audit.folder, {SO: PLAIN.build()}, metadata_tags=["cp311-cp311-linux_aarch64"])
        assert "WHEEL has cp311-cp311-linux_aarch64 instead" in failures(audit.path(path))["tag"]


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


class TestRecord:
    def test_a_changed_file_fails(self, audit: Auditor) -> None:
        path = make_wheel(audit.folder, {SO: PLAIN.build(), "m/data.txt": b"one"})
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in (members | {"m/data.txt": b"two"}).items():
                archive.writestr(name, data)
        assert failures(audit.path(path))["record"] == "m/data.txt: its sha256 differs from RECORD's"

    @pytest.mark.parametrize(
        ("row", "fault"),
        [
            ("m/data.txt,,", "m/data.txt: RECORD has no hash of it"),
            ("m/data.txt,md5=AAAA,3", "m/data.txt: RECORD has a hash of the kind md5"),
            ("m/data.txt,sha256={hash},4", "m/data.txt: has 3 bytes, and RECORD says 4"),
            ("m/other.txt,sha256={hash},3", "RECORD lists 1 file that the wheel does not have: m/other.txt"),
        ],
    )
    def test_each_row_is_held_to_its_file(self, audit: Auditor, row: str, fault: str) -> None:
        path = make_wheel(audit.folder, {SO: PLAIN.build(), "m/data.txt": b"one"}, unrecorded=["m/data.txt"])
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        value = base64.urlsafe_b64encode(hashlib.sha256(b"one").digest()).rstrip(b"=").decode()
        members["m-1.0.dist-info/RECORD"] += row.format(hash=value).encode() + b"\n"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        assert fault in failures(audit.path(path))["record"]


class TestPrograms:
    BOTH = "m-1.0-py3-none-manylinux_2_17_aarch64.musllinux_1_1_aarch64.whl"

    def test_one_that_needs_no_library_may_claim_both_c_libraries(self, audit: Auditor) -> None:
        program = ElfFile(needed=(), needs={})
        path = make_wheel(audit.folder, {"m-1.0.data/scripts/m": program.build()}, name=self.BOTH)
        assert audit.path(path).passed, failures(audit.path(path))

    def test_one_that_needs_a_library_may_not(self, audit: Auditor) -> None:
        path = make_wheel(audit.folder, {"m-1.0.data/scripts/m": PLAIN.build()}, name=self.BOTH)
        assert (
            "claims glibc and musl at once, but m-1.0.data/scripts/m needs a C library"
            in failures(audit.path(path))["tag"]
        )

    def test_a_musllinux_tag_without_a_policy_is_not_judged(self, audit: Auditor) -> None:
        name = "m-1.0-cp311-cp311-musllinux_1_1_aarch64.whl"
        module = ElfFile(needed=("libc.musl-aarch64.so.1",), needs={})
        report = audit.path(make_wheel(audit.folder, {SO: module.build()}, name=name))
        assert report.passed, failures(report)
        assert "no policy for musllinux_1_1_aarch64" in report.verdict("symbols").detail


class TestFiles:
    def test_an_empty_run_path_is_none(self, audit: Auditor) -> None:
        assert audit.elf(ElfFile(runpath="")).passed

    def test_a_misaligned_load_segment_fails(self, audit: Auditor) -> None:
        assert "aligned to 0x1000, not 0x10000" in failures(audit.elf(ElfFile(alignment=0x1000)))["alignment"]

    def test_an_address_that_disagrees_with_its_offset_fails(self, audit: Auditor) -> None:
        assert "disagree modulo 64 KiB" in failures(audit.elf(ElfFile(skew=0x1000)))["alignment"]

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("/build/lib", "'/build/lib' does not start at $ORIGIN"),
            ("$ORIGIN:/opt/lib", "'/opt/lib' does not start at $ORIGIN"),
            ("$ORIGIN/../../lib", "'$ORIGIN/../../lib' leaves the wheel"),
            ("$ORIGIN:", "'' does not start at $ORIGIN"),
            ("$ORIGINAL", "'$ORIGINAL' does not start at $ORIGIN"),
        ],
    )
    def test_a_search_path_out_of_the_wheel_fails(self, audit: Auditor, path: str, message: str) -> None:
        assert f"{SO}: RPATH {message}" in failures(audit.elf(ElfFile(rpath=path)))["rpath"]
        assert f"{SO}: RUNPATH {message}" in failures(audit.elf(ElfFile(runpath=path)))["rpath"]

    @pytest.mark.parametrize("path", ["$ORIGIN", "${ORIGIN}/../m.libs", "$ORIGIN/sub:$ORIGIN/.."])
    def test_a_search_path_within_the_wheel_passes(self, audit: Auditor, path: str) -> None:
        assert audit.elf(replace(PLAIN, rpath=path)).verdict("rpath").outcome == "pass"

    def test_a_wheel_over_the_size_limit_fails(self, audit: Auditor) -> None:
        assert "over the limit" in failures(audit.elf(PLAIN, max_size_bytes=10))["size"]
        assert audit.elf(PLAIN, max_size_bytes=10**6).verdict("size").outcome == "pass"


def passport(**changes: object) -> dict[str, object]:
    return {
        "schema": 1,
        "build": "m-1.0-cp311-neoverse-v1-none",
        "recipe": "m",
        "version": "1.0",
        "python": "cp311",
        "target": "neoverse-v1",
        "backend": "none",
        "default_backend": True,
        "compiler": {"name": "zig", "version": "0.17.1"},
        "flags": [V1_FLAG],
        "flags_observed": [V1_FLAG],
        "source": {"kind": "sdist", "origin": "m-1.0.tar.gz", "sha256": SHA},
        "dependencies": [],
        "toolchain": [],
        "glibc_floor": "2.17",
        "digests": {"compile": SHA, "wheel": SHA},
        "source_date_epoch": 1700000000,
        **changes,
    }


OURS = "m-1.0+neoverse.v1-1_abababab-cp311-cp311-manylinux_2_17_aarch64.whl"
BILL = "INFO/sboms/armwheels.cdx.json"


def ours(
    folder: Path,
    elf: ElfFile = TUNED,
    name: str = OURS,
    files: dict[str, bytes] | None = None,
    changes: dict[str, object] | None = None,
) -> Path:
    content = {SO: elf.build(), BILL: b'{"components": []}', **(files or {})}
    return make_wheel(folder, content, name=name, passport=passport(**(changes or {})))


class TestOurWheels:
    def test_a_sound_one_passes(self, audit: Auditor) -> None:
        path = ours(audit.folder)
        report = audit.path(path, "neoverse-v1", promises=("sve",))
        assert report.passed, failures(report)
        assert passport_target(open_wheel(path)) == "neoverse-v1"
        assert observed_flags(path) == (V1_FLAG,)

    def test_it_passes_for_a_better_target_too(self, audit: Auditor) -> None:
        assert audit.path(ours(audit.folder), "neoverse-v2").passed

    def test_it_fails_for_a_lesser_one(self, audit: Auditor) -> None:
        found = failures(audit.path(ours(audit.folder), "neoverse-n1"))
        assert "whose wheels do not run on every neoverse-n1" in found["passport"]
        assert "sve 2" in found["instructions"]

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            ((), "no record of its compiler's command line"),
            (("zig 0.17.1 -O3",), "-mcpu=neoverse_v1 is missing in: zig 0.17.1 -O3"),
            ((V1_LINE, "zig 0.17.1 -mcpu=neoverse_n1"), "is missing in: zig 0.17.1 -mcpu=neoverse_n1"),
            ((f"{V1_LINE} -march=armv8.4-a",), "-march=armv8.4-a is not expected"),
            (("zig 0.17.1 -mcpu=neoverse_v12",), "-mcpu=neoverse_v1 is missing"),
        ],
    )
    def test_flags_that_did_not_arrive_fail(
        self, audit: Auditor, lines: tuple[str, ...], message: str
    ) -> None:
        path = ours(audit.folder, replace(TUNED, command_lines=lines))
        assert message in failures(audit.path(path, "neoverse-v1"))["flags"]

    def test_a_suffix_is_the_same_flag(self, audit: Auditor) -> None:
        elf = replace(TUNED, command_lines=(V1_LINE, f"zig 0.17.1 {V1_FLAG}+nosve -O2"))
        path = ours(audit.folder, elf, changes={"flags_observed": [V1_FLAG, f"{V1_FLAG}+nosve"]})
        assert audit.path(path, "neoverse-v1").passed

    def test_units_outside_the_hot_paths_may_carry_the_baseline(self, audit: Auditor) -> None:
        lines = (V1_LINE, "zig 0.17.1 -mcpu=generic -O2")
        observed = {"flags_observed": ["-mcpu=generic", V1_FLAG]}
        path = ours(audit.folder, replace(TUNED, command_lines=lines), changes=dict(observed))
        assert "-mcpu=neoverse_v1 is missing" in failures(audit.path(path, "neoverse-v1"))["flags"]
        assert audit.path(path, "neoverse-v1", baseline_flags=("-mcpu=generic",)).passed

    def test_the_baseline_alone_is_not_enough(self, audit: Auditor) -> None:
        elf = replace(TUNED, command_lines=("zig 0.17.1 -mcpu=generic -O2",))
        path = ours(audit.folder, elf, changes={"flags_observed": ["-mcpu=generic"]})
        found = failures(audit.path(path, "neoverse-v1", baseline_flags=("-mcpu=generic",)))
        assert "no unit was compiled with -mcpu=neoverse_v1" in found["flags"]

    def test_switches_recorded_one_by_one_are_one_unit(self, audit: Auditor) -> None:
        elf = replace(TUNED, command_lines=(V1_FLAG, "-O3", "-fPIC"))
        assert audit.path(ours(audit.folder, elf), "neoverse-v1").verdict("flags").data["units"] == 1

    def test_a_passport_that_observed_otherwise_fails(self, audit: Auditor) -> None:
        report = audit.path(
            ours(audit.folder, changes={"flags_observed": ["-mcpu=neoverse_n1"]}), "neoverse-v1"
        )
        assert (
            "the passport has -mcpu=neoverse_n1, the files have -mcpu=neoverse_v1"
            in failures(report)["flags"]
        )

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"version": "1.1"}, "is of version 1.1, the file name says 1.0"),
            ({"backend": "openblas", "default_backend": False}, "is for 'neoverse.v1.openblas'"),
            ({"digests": {"compile": SHA, "wheel": "cd" * 32}}, "has wheel digest cdcdcdcd"),
            ({"python": "cp312"}, "is for cp312, the file name says cp311"),
            ({"schema": 2}, "schema: 1 was expected"),
            ({"surprise": 1}, "'surprise' was unexpected"),
        ],
    )
    def test_a_passport_that_disagrees_fails(
        self, audit: Auditor, changes: dict[str, object], message: str
    ) -> None:
        assert message in failures(audit.path(ours(audit.folder, changes=changes), "neoverse-v1"))["passport"]

    def test_a_name_without_target_fails(self, audit: Auditor) -> None:
        name = "m-1.0-1_abababab-cp311-cp311-manylinux_2_17_aarch64.whl"
        report = audit.path(ours(audit.folder, name=name), "neoverse-v1")
        assert "the file name says 'no target'" in failures(report)["passport"]

    def test_grafts_need_component_licence_and_text(self, audit: Auditor) -> None:
        graft = "m.libs/libx-1234.so"
        component: dict[str, object] = {
            "name": "libx",
            "properties": [{"name": "armwheels:file", "value": graft}],
        }
        files = {graft: ElfFile().build(), BILL: b'{"components": []}'}

        def licences() -> str:
            return failures(audit.path(ours(audit.folder, files=files), "neoverse-v1")).get("licences", "")

        assert f"{graft}: the bill of materials has no component for it" in licences()
        files[BILL] = json.dumps({"components": [component]}).encode()
        assert "its component 'libx' has no licence" in licences()
        component["licenses"] = [{"license": {"id": "MIT"}}]
        files[BILL] = json.dumps({"components": [component]}).encode()
        assert "no licence text under m-1.0+neoverse.v1.dist-info/licenses/libx/" in licences()
        files["INFO/licenses/libx/LICENSE"] = b"text"
        assert licences() == ""

    def test_a_bill_that_is_none_fails(self, audit: Auditor) -> None:
        files = {"m.libs/libx.so": ElfFile().build(), BILL: b"[]"}
        report = audit.path(ours(audit.folder, files=files), "neoverse-v1")
        assert "is not a CycloneDX document" in failures(report)["licences"]


class TestUnreadable:
    @pytest.mark.parametrize(
        ("name", "data", "message"),
        [
            ("m.whl", b"", "not a wheel's file name"),
            ("m-1.0-py3-none-any.whl", b"no zip", "not a readable wheel"),
        ],
    )
    def test_a_file_that_is_no_wheel_is_an_error(
        self, tmp_path: Path, name: str, data: bytes, message: str
    ) -> None:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(AuditError, match=message):
            open_wheel(tmp_path / name)

    def test_a_missing_file_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(AuditError, match="not a readable wheel"):
            open_wheel(tmp_path / "m-1.0-py3-none-any.whl")

    def test_a_wheel_without_dist_info_is_an_error(self, tmp_path: Path) -> None:
        path = tmp_path / "m-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("m.py", "")
        with pytest.raises(AuditError, match=r"exactly one \*.dist-info"):
            open_wheel(path)

    def test_a_damaged_member_is_an_error(self, audit: Auditor) -> None:
        path = make_wheel(audit.folder, {SO: PLAIN.build() * 50})
        data = bytearray(path.read_bytes())
        data[90:120] = b"\xff" * 30
        path.write_bytes(data)
        with pytest.raises(AuditError, match="cannot be read"):
            audit.path(path)

    def test_a_passport_that_is_no_json(self, tmp_path: Path) -> None:
        path = make_wheel(tmp_path, {"INFO/armwheels.json": b"{"})
        with pytest.raises(AuditError, match="passport is not JSON"):
            passport_target(open_wheel(path))
