"""A library of Debian as a wheel: its version, and workloads for each that `armwheels libraries` knows."""

from __future__ import annotations

from typing import Any

import pytest

from builder.bench.library_wheels import library_version
from builder.bench.measure import SCRIPTS, workloads_of
from builder.errors import ConfigError
from builder.model.toolchains import Toolchains
from builder.settings import ROOT, load_toml
from builder.toolbox.toolbox import Toolbox
from builder.toolbox.tools import load_toolchains

LIBRARIES = load_toolchains().libraries


def test_all_four_libraries_of_the_frameworks_are_there() -> None:
    assert set(LIBRARIES) == {"openblas", "onednn", "acl", "sleef"}


@pytest.mark.parametrize("name", LIBRARIES)
def test_each_library_has_thirty_workloads(name: str) -> None:
    names = [one.name for one in workloads_of((SCRIPTS / LIBRARIES[name].program,))]
    assert len(names) == len(set(names)) >= 30


@pytest.mark.parametrize("name", LIBRARIES)
def test_each_pair_of_a_library_has_two_versions(name: str) -> None:
    toolbox = Toolbox()
    versions = [library_version(toolbox, part) for part in LIBRARIES[name].parts]
    assert len(versions) == len(set(versions)) >= 2


def test_the_version_is_upstreams_without_epoch_and_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    toolbox = Toolbox()

    def pinned(version: str) -> str:
        [file] = (one for one in toolbox.pins.files("sleef") if one.name == "libsleef3")
        parts = {**toolbox.pins.parts, "sleef": (file.model_copy(update={"version": version}),)}
        monkeypatch.setattr(toolbox, "pins", toolbox.pins.model_copy(update={"parts": parts}))
        return library_version(toolbox, "sleef")

    assert pinned("1:3.7.2+ds-2") == "3.7.2"
    assert pinned("24.11+dfsg-3+b1") == "24.11"
    with pytest.raises(ConfigError, match="sleef has no version of libsleef3"):
        pinned("next")


def test_a_library_that_is_no_part_of_debian_is_refused(tmp_path: Any) -> None:
    text = (ROOT / "configs/toolchains.toml").read_text(encoding="utf-8")
    broken = tmp_path / "toolchains.toml"
    broken.write_text(
        text.replace('others = ["acl-before"]', 'others = ["zig", "acl-old"]'), encoding="utf-8"
    )
    with pytest.raises(ConfigError, match=r"libraries\.acl: `zig` is no part with packages of Debian"):
        load_toml(Toolchains, broken)
