"""Audits of small wheels with the recorded decoder."""

from __future__ import annotations

from pathlib import Path

from builder.audit import AuditReport, open_wheel
from builder.audit.report import judge
from builder.audit.schema import DATA
from builder.model.expectations import Expectations
from builder.targets import Targets
from tests.helpers.elf_builder import LDADD, RET, SVE_FADD, ElfFile, Function, make_wheel
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
        report = judge(
            open_wheel(path), self.cpus[target], Expectations.model_validate(expectations), self.decoder
        )
        conforms(report)
        return report

    def elf(self, elf: ElfFile, target: str = "generic", **expectations: object) -> AuditReport:
        return self.path(make_wheel(self.folder, {SO: elf.build()}), target, **expectations)


def conforms(report: AuditReport) -> None:
    """Hold the data of each check against its model, which knows all keys."""
    for verdict in report.verdicts:
        DATA[verdict.check].model_validate(verdict.data)


def failures(report: AuditReport) -> dict[str, str]:
    return {verdict.check: verdict.detail for verdict in report.verdicts if verdict.outcome == "fail"}
