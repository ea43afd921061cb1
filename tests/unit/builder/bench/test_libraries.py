"""A pinned library is compared with the version before it, or a candidate with the pinned one."""

from __future__ import annotations

import pytest
from packaging.version import Version

from builder.bench.judge import judge
from builder.bench.libraries import candidates_of, pinned_libraries, version_before, without_import
from builder.bench.measure import program_for, workloads_of
from builder.errors import ConfigError
from builder.load import load_configs
from builder.model.pythons import installable_tags
from builder.toolbox.fetch import Listed
from tests.unit.builder.bench.test_judge import report, row, wheel

TAGS = installable_tags("cp311", ["manylinux2014_aarch64"])
PINNED = ["scipy-openblas64"]


def listed(*versions: str, platform: str = "manylinux2014_aarch64") -> list[Listed]:
    return [Listed(f"demo-{version}-py3-none-{platform}.whl", "0" * 64) for version in versions]


def test_numpys_openblas_is_a_pinned_library() -> None:
    assert Version(pinned_libraries(load_configs().recipes.values())["scipy-openblas64"])


def test_openblas_has_thirty_workloads_with_transposed_products() -> None:
    program = program_for("scipy-openblas64")
    assert program
    names = [workload.name for workload in workloads_of(program)]
    assert len(names) == len(set(names)) >= 30
    assert {"sgemm nt 256", "dgemm nt 256"} <= set(names)


def test_the_version_before_is_the_newest_below_that_installs() -> None:
    files = [
        *listed("1.0", "1.9.0", "1.10.0", "1.10.5rc1", "2.0"),
        *listed("1.11", platform="win_amd64"),
        Listed("demo-1.10.7.tar.gz", "0" * 64),
    ]
    assert version_before(files, "2.0", TAGS) == "1.10.0"
    assert version_before(files, "1.0", TAGS) is None


def test_a_candidate_is_named_with_its_version() -> None:
    assert candidates_of([], PINNED) == {"scipy-openblas64": None}
    assert candidates_of(["scipy_openblas64"], PINNED) == {"scipy-openblas64": None}
    assert candidates_of(["scipy-openblas64==0.3.34.1"], PINNED) == {"scipy-openblas64": "0.3.34.1"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("scipy-openblas64>=1", "not NAME or NAME==VERSION"),
        ("scipy-openblas64==1,==2", "not NAME or NAME==VERSION"),
        ("scipy-openblas64==1.*", "not NAME or NAME==VERSION"),
        ("==1", "not NAME or NAME==VERSION"),
        ("mkl", "no pinned library mkl"),
    ],
)
def test_another_form_or_name_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        candidates_of([text], PINNED)


def test_the_import_does_not_count_but_a_failed_one_does() -> None:
    older = without_import(wheel("older", row("import", 100), row("sgemm nt 256", 1000)))
    newer = without_import(wheel("newer", row("import", 900), row("sgemm nt 256", 25_000)))
    verdict = judge("n" * 64, "neoverse-v1", [report(older, newer)], ())
    assert verdict.faults == ("sgemm nt 256 takes 25.000 times the instructions of older",)
    failed = without_import(wheel("newer", row("import", state="failed", detail="no such file")))
    assert judge("n" * 64, "neoverse-v1", [report(older, failed)], ()).faults == (
        "import failed: no such file",
    )
