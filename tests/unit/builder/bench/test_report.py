"""Bench without an emulator: choosing wheels, times, and what is shown of them."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from builder import cli
from builder.bench import table, timing
from builder.bench.install import choose, facts
from builder.bench.measure import Line
from builder.bench.model import (
    BENCH_VERSION,
    BenchReport,
    Cycles,
    Library,
    Machine,
    Measured,
    Row,
    WheelFacts,
    Workload,
)
from builder.bench.timing import TimingMachine, thread_counts
from builder.commands import bench as command
from builder.emulation.install import glibc_minor, python_of
from builder.errors import ConfigError
from builder.machine import is_real
from builder.model.pythons import installable_tags
from builder.targets import Targets
from builder.toolbox.fetch import Listed
from builder.toolbox.pins import PinnedFile
from tests.helpers import DATA
from tests.helpers.bench_lines import bench_line

# Choosing wheels

LISTED = [
    Listed("demo-1.0.tar.gz", "0" * 64),
    Listed("demo-1.0-cp311-cp311-musllinux_1_2_aarch64.whl", "1" * 64),
    Listed("demo-1.0-cp311-cp311-manylinux_2_28_x86_64.whl", "2" * 64),
    Listed("demo-1.0-cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64.whl", "3" * 64),
    Listed("demo-1.0-cp39-abi3-manylinux_2_28_aarch64.whl", "4" * 64),
    Listed("demo-1.0-cp312-cp312-manylinux_2_28_aarch64.whl", "5" * 64),
    Listed("demo-1.0.1-cp311-cp311-manylinux_2_28_aarch64.whl", "6" * 64),
    Listed("demo-1.1-cp311-cp311-manylinux_2_40_aarch64.whl", "7" * 64),
]
PLATFORMS = ["manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"]


@pytest.mark.parametrize(
    ("version", "python", "digit"),
    [("1.0", "cp311", "3"), ("1.0", "cp310", "4"), ("1.0", "cp312", "5"), ("1.0.1", "cp311", "6")],
)
def test_the_reference_is_the_best_wheel_of_exactly_that_version(
    version: str, python: str, digit: str
) -> None:
    found = choose(LISTED, version, installable_tags(python, PLATFORMS))
    assert found is not None
    assert found.sha256 == digit * 64


def test_no_reference_where_none_fits() -> None:
    tags = installable_tags("cp311", PLATFORMS)
    assert choose(LISTED, "1.1", tags) is None
    assert choose(LISTED, "2.0", tags) is None
    assert choose(LISTED, "1.0", installable_tags("cp38", PLATFORMS)) is None


def test_a_wheel_runs_on_its_own_python_else_on_one_that_takes_it() -> None:
    known = ["cp311", "cp312"]
    assert python_of(Path(LISTED[5].filename), known) == "cp312"
    assert python_of(Path(LISTED[4].filename), known) == "cp311"
    with pytest.raises(ConfigError, match="no known Python can install"):
        python_of(Path("demo-1.0-cp39-cp39-manylinux_2_28_aarch64.whl"), known)


def make_wheel(folder: Path, name: str, members: Mapping[str, bytes] | None = None) -> Path:
    path = folder / name
    project, version = name.split("-")[:2]
    info = f"{project}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in {f"{info}/WHEEL": b"", f"{info}/RECORD": b"", **(members or {})}.items():
            archive.writestr(member, data)
    return path


def test_a_wheels_libraries_are_not_its_extension_modules(tmp_path: Path) -> None:
    members = {
        "demo/core.cpython-311-aarch64-linux-gnu.so": b"x" * 10,
        "demo/lib/libdemo.so": b"x" * 20,
        "demo.libs/libgomp-98df74fd.so.1.0.0": b"x" * 30,
        "demo/libs.py": b"",
    }
    found = facts(make_wheel(tmp_path, "demo-1.0+neoverse.v1-cp311-cp311-linux_aarch64.whl", members))
    assert [(one.name, one.bytes) for one in found.libraries] == [
        ("libgomp-98df74fd.so.1.0.0", 30),
        ("libdemo.so", 20),
    ]
    assert found.unpacked_bytes == 60
    assert found.label == "neoverse.v1"
    assert found.target is None


def test_two_builds_of_one_target_are_told_apart() -> None:
    names = ("demo-1.0+a-1_aa-cp311-cp311-x.whl", "demo-1.0+a-2_bb-cp311-cp311-x.whl", "demo-1.0+b-x-y-z.whl")
    sides = [
        (Path(name), wheel_facts("a" if "+a" in name else "b", "0", 1).model_copy(update={"filename": name}))
        for name in names
    ]
    assert [about.label for _, about in command.told_apart(sides)] == ["a 1_aa", "a 2_bb", "b"]


def test_wheels_of_several_versions_are_refused(tmp_path: Path) -> None:
    one = make_wheel(tmp_path, "demo-1.0+a-cp311-cp311-linux_aarch64.whl")
    same = make_wheel(tmp_path, "demo-1.0+b-cp311-cp311-linux_aarch64.whl")
    other = make_wheel(tmp_path, "demo-1.1-cp311-cp311-linux_aarch64.whl")
    assert command.the_one_version([one, same]) == ("demo", "1.0")
    with pytest.raises(ConfigError, match=r"demo 1\.0, demo 1\.1"):
        command.the_one_version([one, other])


def test_an_unknown_workload_is_named_with_those_there_are() -> None:
    there = (Workload(name="a", about=""), Workload(name="b", about=""))
    assert command.chosen(there, ["b"]) == there[1:]
    assert command.chosen(there, None) == there
    with pytest.raises(ConfigError, match="no workload c; there are a, b"):
        command.chosen(there, ["c"])


# Timing, with the scripts played by a function


def test_threads_double_up_to_all_cores() -> None:
    assert thread_counts(1) == (1,)
    assert thread_counts(2) == (1, 2)
    assert thread_counts(6) == (1, 2, 4, 6)
    assert thread_counts(64) == (1, 2, 4, 8, 16, 32, 64)


def test_an_arm_machine_without_a_processor_of_its_own_is_not_real(tmp_path: Path) -> None:
    midr = tmp_path / "midr_el1"
    assert not is_real("aarch64", midr)
    midr.touch()
    assert is_real("aarch64", midr)
    assert not is_real("x86_64", midr)


def real_machine(
    targets: Targets, seconds: Callable[[str, int], float | None], cores: int = 4
) -> tuple[TimingMachine, list[tuple[list[str], dict[str, str]]]]:
    """A Graviton3 whose every workload takes ``seconds(name, threads)``; ``None``: it dies of it."""
    asked: list[tuple[list[str], dict[str, str]]] = []

    def talk(
        words: Sequence[str], environment: Mapping[str, str], cwd: Path, heard: Callable[[Line], None]
    ) -> tuple[list[Line], str]:
        asked.append((list(words), dict(environment)))
        threads = int(environment["OMP_NUM_THREADS"])
        lines: list[Line] = []
        for name in ("import", *words[4:]):
            lines.append(bench_line(name, "started"))
            taken = seconds(name, threads)
            if taken is None:
                return lines, "ended by SIGSEGV"
            lines.append(bench_line(name, seconds=[taken * 1.5, taken, taken * 2]))
            heard(lines[-1])
        return lines, ""

    cpuinfo = (DATA / "cpuinfo/graviton3.txt").read_text()
    fit = targets.host_fit(cpuinfo)
    own = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return TimingMachine(fit, own, cores=cores, talk=talk), asked


def test_times_are_taken_for_each_number_of_threads(targets: Targets, tmp_path: Path) -> None:
    machine, asked = real_machine(targets, lambda name, threads: 0.008 / threads)
    heard: list[str] = []
    rows = machine.measure((tmp_path / "x_bench.py",), ["gemm"], tmp_path / "site", heard.append)
    assert machine.machine.target == "neoverse-v1"
    assert machine.machine.threads == (1, 2, 4)
    assert [environment["OPENBLAS_NUM_THREADS"] for _, environment in asked] == ["1", "2", "4"]
    assert asked[0][0][1:] == [str(tmp_path / "x_bench.py"), "time", str(timing.SECONDS), "gemm"]
    gemm = rows[1]
    assert gemm.best(1) == 0.008
    assert gemm.middle(1) == 0.012
    assert table.scaling_cells(gemm, (1, 2, 4)) == ["2.0", "4.0"]
    assert "gemm, 4 threads" in heard


def test_a_workload_that_dies_on_many_threads_keeps_its_times_on_few(
    targets: Targets, tmp_path: Path
) -> None:
    machine, _ = real_machine(
        targets, lambda name, threads: None if (name, threads) == ("a", 4) else 1.0 / threads
    )
    _, a, b = machine.measure((tmp_path / "x.py",), ["a", "b"], tmp_path / "site", lambda text: None)
    assert set(a.seconds) == {1, 2}
    assert a.detail == "4 threads: ended by SIGSEGV"
    assert set(b.seconds) == {1, 2, 4}


def test_the_whole_command_on_an_arm_machine_prints_times_and_a_text_to_send(
    targets: Targets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, asked = real_machine(targets, lambda name, threads: 0.008 / threads)
    beside: dict[str, list[str]] = {}

    def install(self: TimingMachine, wheel: Path, site: Path, needs: Sequence[str]) -> None:
        site.mkdir()
        beside[wheel.name] = list(needs)

    monkeypatch.setattr(TimingMachine, "install", install)
    monkeypatch.setattr(command, "machine_for", lambda wheel, target, server: (machine, "cp311"))
    monkeypatch.setattr(command, "out", Console(width=120))
    monkeypatch.setenv("ARMWHEELS_HOME", str(tmp_path / "home"))
    wheel = make_wheel(tmp_path, "numpy-1.0+neoverse.v1-cp311-cp311-linux_aarch64.whl")
    other = make_wheel(tmp_path, "numpy-1.0+generic-cp311-cp311-linux_aarch64.whl", {"numpy/x.py": b"1"})
    options = ["bench", str(wheel), "--against", str(other), "--only", "gemm-float32"]
    options += ["--reference-with", "six<2"]
    done = CliRunner().invoke(cli.make_app(), options, catch_exceptions=False)
    assert done.exit_code == 0
    assert len(asked) == 2 * len(machine.machine.threads)
    assert beside == {wheel.name: [], other.name: ["six<2"]}
    assert done.output.count("gemm-float32") == 2  # in the table, and in the text to paste
    assert "To send it back, paste this" in done.output
    [kept] = (tmp_path / "home/out/bench").glob("*/seconds-neoverse-v1.json")
    assert [side.wheel.label for side in BenchReport.model_validate_json(kept.read_text()).measured] == [
        "generic",
        "neoverse.v1",
    ]


# What is shown

EMULATED = Machine(
    target="neoverse-v1",
    server="graviton3",
    cpu="max,sve-default-vector-length=32",
    emulator="qemu-user 7.2",
    vector_bits=256,
    threads=(1,),
    environment={"OMP_NUM_THREADS": "1"},
    system="Debian 12",
    note="a note",
)


def wheel_facts(label: str, digit: str, size: int) -> WheelFacts:
    return WheelFacts(
        label=label,
        filename=f"demo-1.0+{label}.whl",
        sha256=digit * 64,
        bytes=size,
        unpacked_bytes=3 * size,
        libraries=(Library(name="libgomp.so.1", bytes=300_000),),
        target=None,
    )


def report_of(machine: Machine, *sides: tuple[Row, ...]) -> BenchReport:
    labels = ("PyPI", "neoverse.v1", "generic")
    measured = tuple(
        Measured(wheel=wheel_facts(label, digit, size), packages={"demo": "1.0"}, rows=rows)
        for label, digit, size, rows in zip(
            labels, "abc", (1_000_000, 2_000_000, 3_000_000), sides, strict=False
        )
    )
    names = [row.workload for row in sides[0][1:]]
    return BenchReport(
        project="demo",
        version="1.0",
        python="cp311",
        machine=machine,
        workloads=tuple(Workload(name=name, about="") for name in names),
        reference_note="held against demo-1.0.whl of pip's index",
        measured=measured,
    )


def counted(name: str, *calls: int, **classes: int) -> Row:
    shares = {kind.replace("_", "-"): value for kind, value in classes.items()}
    return Row(workload=name, state="ran", instructions=calls, classes=shares)


def drawn(report: BenchReport) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(table.draw(report), highlight=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


COUNTED = report_of(
    EMULATED,
    (
        counted("import", 4_000_000_000),
        counted("gemm", 10_000_000, neon=6_000_000),
        Row(workload="int8", state="unavailable", detail="no engine"),
    ),
    (
        counted("import", 4_000_000_000),
        counted("gemm", 5_100_000, 5_000_000, sve=2_000_000, sve_dot=1_000_000),
        counted("int8", 700),
    ),
)


def row_of(text: str, name: str) -> str:
    return " ".join(next(line for line in text.splitlines() if line.startswith(name)).split())


def test_the_table_sets_counts_side_by_side() -> None:
    text = drawn(COUNTED)
    assert row_of(text, "gemm") == "gemm 10.0 M neon 60 ~5.00 M sve 60 (dot 20) 0.50"
    assert row_of(text, "wheel") == "wheel 1.0 MB 2.0 MB 2.00"
    assert row_of(text, "import demo") == "import demo 4.00 G none 4.00 G none 1.00"
    assert max(map(len, text.splitlines())) <= 120


def test_what_is_missing_on_one_side_has_no_ratio_and_a_reason() -> None:
    text = drawn(COUNTED)
    assert row_of(text, "int8") == "int8 unavailable 700 none"
    assert "PyPI, int8: no engine" in text
    assert "~ marks counts that differ between calls, by 2.0 % at most: gemm" in text


def test_counts_are_never_shown_without_what_they_do_not_prove() -> None:
    text = " ".join(drawn(COUNTED).split())
    assert "These are instructions and estimated cycles, not time." in text
    assert "256-bit SVE" in text


def estimated(row: Row, cycles: int, loaded: int = 0, unmodelled: float = 0.0) -> Row:
    found = Cycles(
        estimated=cycles, coverage=0.95, unmodelled=unmodelled, loaded_bytes=loaded, stored_bytes=0
    )
    return row.model_copy(update={"cycles": found})


def test_cycles_stand_in_columns_of_their_own_with_the_model_that_gave_them() -> None:
    machine = EMULATED.model_copy(update={"core": "LLVM's scheduling model of neoverse-v1"})
    report = report_of(
        machine,
        (counted("import", 4_000_000), estimated(counted("gemm", 1_000_000), 500_000, loaded=16_000_000)),
        (counted("import", 4_000_000), estimated(counted("gemm", 1_370_000), 450_000, unmodelled=0.25)),
    )
    text = drawn(report)
    assert row_of(text, "gemm") == "gemm 1.00 M none 1.37 M none 1.37 500 k 450 k 0.90"
    assert row_of(text, "import demo") == "import demo 4.00 M none 4.00 M none 1.00"
    assert text.count("est. cycles") == 4  # in the head, and in a note
    assert "cycles are estimated with LLVM's scheduling model of neoverse-v1" in text
    assert "PyPI: est. cycles if no access hits the first-level cache, where more: gemm 1.00 M" in text
    assert "neoverse.v1: the model of the core lacks instructions: gemm 25.0 %" in text
    assert BenchReport.model_validate_json(report.model_dump_json()) == report


def test_three_wheels_are_two_tables_and_each_is_evidence_with_the_reference() -> None:
    row = (counted("import", 100), counted("gemm", 200))
    report = report_of(EMULATED, row, row, row)
    assert drawn(report).count("import demo") == 2
    assert [side.wheel.label for side in report.about("c" * 64).measured] == ["PyPI", "generic"]


def test_one_wheel_alone_has_no_ratio() -> None:
    report = report_of(EMULATED, (counted("import", 100), counted("gemm", 200)))
    assert "ratio" not in drawn(report)
    assert row_of(drawn(report), "gemm") == "gemm 200 none"


def timed(name: str, **seconds: float) -> Row:
    return Row(
        workload=name,
        state="ran",
        seconds={int(threads[1:]): (value, value * 2) for threads, value in seconds.items()},
    )


REAL = Machine(
    target="neoverse-v1",
    server=None,
    cpu="0x41:0xd40",
    emulator=None,
    vector_bits=None,
    threads=(1, 2, 64),
    environment={},
    system="Linux 6.1.0, glibc 2.36, CPython 3.11",
    note="wall time",
)


def test_each_machine_has_a_kind_of_evidence_and_none_is_the_verdicts() -> None:
    assert command.evidence_kind(EMULATED) == "bench-instructions-graviton3"
    assert command.evidence_kind(REAL) == "bench-time-neoverse-v1"


def test_times_are_shown_and_can_be_pasted() -> None:
    report = report_of(
        REAL,
        (timed("import", t1=0.5), timed("gemm", t1=0.004, t2=0.002, t64=0.001)),
        (timed("import", t1=0.5), timed("gemm", t1=0.002, t2=0.0012, t64=0.0002)),
    )
    text = drawn(report)
    assert row_of(text, "gemm") == "gemm 4 ms 6 ms 2 ms 3 ms 0.50 1.7 10.0"
    assert "not time" not in text
    pasted = table.paste(report)
    assert row_of(pasted, "gemm") == "gemm 4 ms 2 ms 0.50 1.7 10.0"
    assert "neoverse-v1 (0x41:0xd40), 64 cores, Linux 6.1.0, glibc 2.36, CPython 3.11" in pasted
    assert "b" * 16 in pasted
    assert pasted.isascii()


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "999"), (1000, "1.00 k"), (12_345, "12.3 k"), (123_456_789, "123 M"), (4_460_000_000, "4.46 G")],
)
def test_counts_have_three_digits(count: int, text: str) -> None:
    assert table.short(count).strip() == text


def test_evidence_is_kept_by_wheel_and_reads_back(tmp_path: Path) -> None:
    [path] = command.keep(COUNTED, tmp_path)
    assert path == tmp_path / "out/bench" / ("b" * 64) / "instructions-neoverse-v1.json"
    [other] = command.keep(COUNTED, tmp_path, "graviton3e")
    assert other == path.with_name("instructions-neoverse-v1-graviton3e.json")
    assert BenchReport.model_validate_json(path.read_text()) == COUNTED
    assert json.loads(path.read_text())["bench"] == BENCH_VERSION


def test_the_c_library_of_a_userland_is_read_from_its_packages() -> None:
    files = [
        PinnedFile(name=name, version=version, sha256="1" * 64, path=f"pool/{name}.deb")
        for name, version in (("libgcc-s1", "14.2.0-19"), ("libc6", "2.41-12+deb13u1"))
    ]
    assert glibc_minor(files) == 41
