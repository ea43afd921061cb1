"""A container's limits count, in both hierarchies of control groups, wherever above the process they are set."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from builder.machine import free_resources

GIB = 2**30


def _written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        available = 64 * GIB

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))


def test_the_disk_is_the_one_that_holds_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = {tmp_path: SimpleNamespace(free=7 * GIB)}
    monkeypatch.setattr("shutil.disk_usage", free.__getitem__)
    assert free_resources(tmp_path, membership=tmp_path / "none", groups=tmp_path / "none").disk_gib == 7


def _seen(tmp_path: Path, membership: str) -> tuple[int, float]:
    own = _written(tmp_path, {"membership": membership}) / "membership"
    machine = free_resources(tmp_path, membership=own, groups=tmp_path / "groups")
    return machine.processors, machine.memory_gib


def test_without_control_groups_the_machine_is_what_it_is(tmp_path: Path) -> None:
    assert _seen(tmp_path, "0::/user.slice\n") == (16, 64)
    absent = free_resources(tmp_path, membership=tmp_path / "none", groups=tmp_path / "none")
    assert absent.memory_gib == 64


def test_version_2_counts_what_is_used_but_not_what_the_kernel_would_drop(tmp_path: Path) -> None:
    _written(
        tmp_path / "groups/pod/one",
        {
            "memory.max": f"{8 * GIB}\n",
            "memory.current": f"{6 * GIB}\n",
            "memory.stat": f"anon {GIB}\ninactive_file {3 * GIB}\n",
            "cpu.max": "250000 100000\n",
        },
    )
    assert _seen(tmp_path, "0::/pod/one\n") == (3, 5)


def test_a_limit_above_counts_too(tmp_path: Path) -> None:
    _written(tmp_path / "groups/pod", {"memory.max": f"{4 * GIB}\n", "memory.current": "0\n"})
    _written(tmp_path / "groups/pod/one", {"memory.max": "max\n", "cpu.max": "max 100000\n"})
    assert _seen(tmp_path, "0::/pod/one\n") == (16, 4)


def test_version_1_and_a_path_that_the_container_does_not_see(tmp_path: Path) -> None:
    _written(
        tmp_path / "groups",
        {
            "memory/memory.limit_in_bytes": f"{3 * GIB}\n",
            "memory/memory.usage_in_bytes": f"{GIB}\n",
            "memory/memory.stat": "total_inactive_file 0\n",
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
        },
    )
    assert _seen(tmp_path, "5:devices:/\n4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n") == (16, 2)
    _written(tmp_path / "groups/cpu", {"cpu.cfs_quota_us": "50000\n"})
    assert _seen(tmp_path, "1:cpu,cpuacct:/docker/abc\n")[0] == 1


def test_a_group_that_is_full_leaves_nothing(tmp_path: Path) -> None:
    _written(tmp_path / "groups", {"memory.max": f"{GIB}\n", "memory.current": f"{2 * GIB}\n"})
    assert _seen(tmp_path, "0::/\n") == (16, 0)
