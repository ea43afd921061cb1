"""A machine that is too small says so, with everything it lacks, before anything is compiled."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import cli
from builder.capacity import Resources, capacity
from builder.commands.terminal import INTERNAL
from builder.errors import CompileError, DiskError
from builder.model.recipe import Needs

TORCH = Needs(memory_per_job_gib=1.5, disk_gib=12, cpu_minutes=170)


def test_jobs_are_chosen_by_memory_as_well_as_processors() -> None:
    wide = Resources(processors=64, memory_gib=15.5, disk_gib=100)
    assert capacity(TORCH, wide).jobs == 10
    assert capacity(TORCH, Resources(processors=2, memory_gib=22, disk_gib=100)).jobs == 2


def test_the_expected_time_is_said() -> None:
    two = capacity(TORCH, Resources(processors=2, memory_gib=22, disk_gib=100))
    assert str(two) == "2 jobs; about 1 h 25 min with an empty cache"
    assert str(capacity(Needs(), Resources(processors=2, memory_gib=4, disk_gib=9))) == "2 jobs"


def test_everything_that_is_missing_is_said_at_once() -> None:
    with pytest.raises(CompileError) as refused:
        capacity(TORCH, Resources(processors=2, memory_gib=1, disk_gib=3.21))
    message = str(refused.value)
    assert "needs 1.5 GiB of memory, 1.0 GiB are free" in message
    assert "needs 12 GiB of disk space, 3.2 GiB are free" in message
    assert "ARMWHEELS_HOME" in message


def test_a_build_that_goes_on_has_its_disk_already() -> None:
    nearly_full = Resources(processors=2, memory_gib=22, disk_gib=3)
    assert capacity(TORCH, nearly_full, resumed=True).jobs == 2
    with pytest.raises(CompileError):
        capacity(TORCH, nearly_full)


@given(
    st.builds(
        Resources,
        processors=st.integers(1, 512),
        memory_gib=st.floats(1.5, 4096),
        disk_gib=st.floats(12, 10_000),
    )
)
def test_jobs_fit_into_processors_and_memory(machine: Resources) -> None:
    jobs = capacity(TORCH, machine).jobs
    assert 1 <= jobs <= machine.processors
    assert jobs * TORCH.memory_per_job_gib <= machine.memory_gib


def test_a_full_disk_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/work/build.log")

    monkeypatch.setattr(cli, "make_app", lambda _: full)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == DiskError.exit_code
    message = " ".join(capsys.readouterr().err.split())
    assert "No space left on device (/somewhere/work/build.log)" in message
    assert "run the same command again" in message


def test_any_other_fault_of_the_system_is_shown_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "x")

    monkeypatch.setattr(cli, "make_app", lambda _: refused)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == INTERNAL
    assert "PermissionError: [Errno 13] Permission denied: 'x'" in capsys.readouterr().err
