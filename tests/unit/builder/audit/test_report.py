"""Whole audits of small real wheels: what passes, and each refusal with its reason."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from builder.audit import AuditReport, observed_flags, open_wheel, passport_target
from builder.errors import AuditError
from tests.helpers.auditor import PLAIN, SHA, SO, TUNED, V1_FLAG, V1_LINE, Auditor, failures
from tests.helpers.elf_builder import (
    EM_ARM,
    EM_X86_64,
    ET_REL,
    ElfFile,
    make_wheel,
    static_archive,
)


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


def test_a_table_of_versions_of_another_type_is_no_verdict_of_auditwheel(audit: Auditor) -> None:
    whole = bytearray(PLAIN.build())
    parsed = ELFFile(io.BytesIO(whole))
    index = parsed.get_section_index(".gnu.version_r")
    type_at = parsed["e_shoff"] + index * parsed["e_shentsize"] + 4  # sh_type of Elf64_Shdr
    whole[type_at : type_at + 4] = (1).to_bytes(4, "little")  # SHT_PROGBITS
    found = failures(audit.path(make_wheel(audit.folder, {SO: bytes(whole)})))
    assert "auditwheel cannot analyse it" in found["symbols"]
