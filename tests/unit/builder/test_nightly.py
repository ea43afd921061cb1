"""The run over a matrix, with the stages and the index played by small models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from builder.errors import CompileError, ConfigError, PublishError, VerifyError
from builder.index import publish
from builder.index.client import ChannelState, Published, SnapshotAnswer
from builder.index.publish import close_channel
from builder.model.build import Build
from builder.model.recipe import Recipe
from builder.nightly import Cell, NightlyReport, run_nightly
from builder.plan import Known
from builder.settings import validate
from builder.targets import Targets
from builder.workshop import AuditedWheel
from tests.helpers.builds import RECIPE, build_for


class IndexModel:
    """An index in memory; ``fail_at`` names a call that ends the run there, as a kill would."""

    def __init__(self) -> None:
        self.serial = 0
        self.snapshots: dict[str, dict[str, str]] = {}
        self.head: str | None = None
        self.sessions: dict[str, dict[str, str]] = {}
        self.builds: dict[str, Published] = {}
        self.evidence: list[tuple[str, str]] = []
        self.uploads: list[str] = []
        self.fetched: list[str] = []
        self.fail_at: str | None = None
        self.digests: dict[str, str] = {}

    def _maybe_fail(self, where: str) -> None:
        if self.fail_at == where:
            raise PublishError(f"killed at {where}")

    def find_build(self, digest: str, project: str) -> Published | None:
        return self.builds.get(digest)

    def channel(self, name: str) -> ChannelState:
        return ChannelState(name=name, serial=self.serial, snapshot=self.head)

    def snapshot_files(self, snapshot: str) -> dict[str, str]:
        return self.snapshots[snapshot]

    def upload(self, wheel: Path, session: str) -> None:
        self._maybe_fail("upload")
        self.uploads.append(wheel.name)
        self.sessions.setdefault(session, {})[wheel.name] = "hash"
        digest = self.digests[wheel.name]
        self.builds[digest] = Published(project="demo", filename=wheel.name, sha256=digest)

    def adopt(self, filename: str, session: str) -> None:
        self.sessions.setdefault(session, {})[filename] = "hash"

    def put_evidence(self, sha256: str, kind: str, evidence: dict) -> None:
        self._maybe_fail("evidence")
        self.evidence.append((sha256, kind))

    def fetch(self, filename: str, sha256: str, downloads: Path) -> Path:
        self.fetched.append(filename)
        return downloads / sha256 / filename

    def evidence_kinds(self, sha256: str) -> frozenset[str]:
        return frozenset(kind for known, kind in self.evidence if known == sha256)

    def make_snapshot(self, session: str, channel: ChannelState) -> SnapshotAnswer:
        self._maybe_fail("snapshot")
        parent = self.snapshots.get(channel.snapshot or "", {})
        files = {**parent, **self.sessions[session]}
        if files == parent:
            return SnapshotAnswer(id=str(self.head), created=False, files=len(files))
        name = f"20261123-{len(self.snapshots) + 1}"
        self.snapshots[name] = files
        return SnapshotAnswer(id=name, created=True, files=len(files))

    def move(self, channel: str, snapshot: str, expected_serial: int, message: str) -> int:
        self._maybe_fail("move")
        assert expected_serial == self.serial
        self.serial += 1
        self.head = snapshot
        return self.serial


class WorkshopModel:
    """Stages that make a file, fail, or give a wheel with faults, by target."""

    def __init__(self, home: Path, index: IndexModel) -> None:
        self.index = index
        self.toolbox = SimpleNamespace(home=home)
        self.broken: set[str] = set()
        self.faulty: set[str] = set()
        self.unrunnable: set[str] = set()
        self.surprising: set[str] = set()
        self.made: list[str] = []
        self.kept: set[str] = set()
        self.audited: list[str] = []
        self.rebuilt = False
        self.previous: dict[str, str | None] = {}

    def known(self, builds: object, published: object) -> Known:
        return Known(published=frozenset(published))

    def held(self, build: Build, sha256: str) -> Path | None:
        return Path(f"{sha256}.whl") if build.target in self.kept else None

    def audit(self, build: Build, wheel: Path, progress: Callable[[str, int, int], None]) -> SimpleNamespace:
        self.audited.append(build.target)
        return SimpleNamespace(sha256=wheel.stem)

    def wheel_folder(self, build: Build) -> Path:
        return self.toolbox.home / ("" if self.rebuilt else "nothing here")

    def build(self, build: Build, progress: Callable[[str, int, int], None]) -> Build:
        self.made.append(build.target)
        if build.target in self.broken:
            raise CompileError("the build ended with 1")
        if build.target in self.surprising:
            raise ZeroDivisionError("a fault of ours")
        return build

    def prove(
        self,
        built: Build | AuditedWheel,
        progress: Callable[[str, int, int], None],
        previous: Path | None = None,
    ) -> SimpleNamespace:
        build = built.build if isinstance(built, AuditedWheel) else built
        if build.target in self.unrunnable:
            raise VerifyError("the emulator could not be started")
        empty = SimpleNamespace(model_dump=lambda mode: {})
        name = f"demo-{build.full_version}-{build.build_tag}-cp311-cp311-linux_aarch64.whl"
        self.index.digests[name] = build.wheel_digest
        self.previous[build.target] = previous.name if previous else None
        return SimpleNamespace(
            path=Path(name),
            sha256=build.wheel_digest,
            faults=("audit, machine: x86",) if build.target in self.faulty else (),
            audit=empty,
            verify=empty,
            bench=empty,
        )


class Night:
    """Runs nights over one index and one workshop."""

    def __init__(self, recipe: Recipe, targets: Targets, home: Path) -> None:
        self.recipe, self.targets = recipe, targets
        self.index = IndexModel()
        self.workshop = WorkshopModel(home, self.index)

    def run(self, *names: str, required: bool = True) -> NightlyReport:
        builds = tuple(
            build_for(self.recipe, self.targets, name).model_copy(update={"required": required})
            for name in names
        )
        cells: list[Cell] = []
        report = run_nightly(
            "demo",
            builds,
            self.workshop,
            self.index,
            channel="nightly",
            progress_for=lambda build: lambda what, done, total: None,
            on_plan=lambda steps: None,
            on_cell=cells.append,
        )
        assert tuple(cells) == report.cells
        return report


@pytest.fixture
def night(recipe: Recipe, targets: Targets, tmp_path: Path) -> Night:
    return Night(recipe, targets, tmp_path)


def test_a_night_makes_one_snapshot_and_one_move(night: Night) -> None:
    report = night.run("generic", "neoverse-n1")
    assert (report.moved, night.index.serial, len(night.index.snapshots)) == (True, 1, 1)
    assert len(night.index.evidence) == 6
    assert not report.missing


def test_a_rebuild_is_held_against_the_wheel_that_the_channel_has(night: Night) -> None:
    night.run("generic", "neoverse-n1")
    assert night.workshop.previous == {"generic": None, "neoverse-n1": None}
    [before] = [name for name in night.index.uploads if "generic" in name]
    night.recipe = validate(
        Recipe, {**RECIPE, "build_number": RECIPE["build_number"] + 1}, origin="demo.toml"
    )
    night.run("generic")
    assert night.workshop.previous["generic"] == before
    assert night.index.fetched == [before]


def test_a_second_night_without_news_builds_and_moves_nothing(night: Night) -> None:
    night.run("generic", "neoverse-n1")
    report = night.run("generic", "neoverse-n1")
    assert sorted(night.workshop.made) == ["generic", "neoverse-n1"]
    assert (report.moved, night.index.serial, len(night.index.snapshots)) == (False, 1, 1)
    assert "nothing new" in report.detail


def test_a_published_wheel_that_is_kept_here_is_checked_again(night: Night) -> None:
    night.run("generic", "neoverse-n1")
    night.workshop.kept = {"generic"}
    report = night.run("generic", "neoverse-n1")
    assert night.workshop.audited == ["generic"]
    assert [cell.outcome for cell in report.cells] == ["published before", "published before"]
    assert [cell.wheel is not None for cell in report.cells] == [True, False]
    assert sorted(night.workshop.made) == ["generic", "neoverse-n1"]  # of the first night
    assert (report.moved, night.index.serial) == (False, 1)
    assert night.index.evidence.count((report.cells[0].sha256, "audit")) == 2


def test_a_published_wheel_that_newer_checks_refuse_counts_as_missing(night: Night) -> None:
    night.run("generic", "neoverse-n1")
    night.workshop.kept = night.workshop.faulty = {"generic"}
    report = night.run("generic", "neoverse-n1")
    assert [cell.outcome for cell in report.cells] == ["refused", "published before"]
    assert [cell.build.target for cell in report.missing] == ["generic"]
    assert "required and missing are demo-1.0-cp311-generic-openblas" in report.detail
    assert night.index.serial == 1


def test_the_published_wheel_wins_over_one_built_here_that_differs(night: Night) -> None:
    night.run("generic")
    night.workshop.rebuilt = True
    report = night.run("generic")
    assert "differs from the published one" in report.cells[0].detail
    assert report.cells[0].sha256 == report.cells[0].build.wheel_digest
    assert night.workshop.audited == []


def test_what_holds_a_licensed_library_is_never_published(night: Night) -> None:
    backends = {"openblas": {"default": True}, "armpl": {"licensed": "ARMPL_DIR"}}
    night.recipe = validate(Recipe, {**RECIPE, "backends": backends}, origin="demo.toml")
    licensed = build_for(night.recipe, night.targets, backend="armpl")
    with pytest.raises(ConfigError, match=r"demo-1.0-cp311-neoverse-v1-armpl may not be published"):
        run_nightly(
            "demo",
            (licensed,),
            night.workshop,
            night.index,
            channel="nightly",
            progress_for=lambda build: lambda what, done, total: None,
            on_plan=lambda steps: None,
            on_cell=lambda cell: None,
        )
    assert not night.workshop.made


def test_a_failed_build_blocks_no_other(night: Night) -> None:
    night.workshop.broken = {"generic"}
    report = night.run("generic", "neoverse-n1", required=False)
    assert [cell.outcome for cell in report.cells] == ["failed", "built"]
    assert report.moved
    assert [cell.build.target for cell in report.missing] == ["generic"]


@pytest.mark.parametrize("how", ["broken", "faulty", "unrunnable"])
def test_a_required_cell_missing_keeps_the_channel(night: Night, how: str) -> None:
    night.run("neoverse-n1")
    setattr(night.workshop, how, {"generic"})
    report = night.run("generic", "neoverse-n1", "neoverse-v1")
    assert (report.moved, night.index.serial, report.snapshot) == (False, 1, "20261123-1")
    assert "the channel stays" in report.detail
    assert "generic" in report.detail


def test_a_wheel_with_faults_is_never_uploaded(night: Night) -> None:
    night.workshop.faulty = {"generic"}
    night.run("generic", "neoverse-n1", required=False)
    assert len(night.index.uploads) == 1


@pytest.mark.parametrize("where", ["upload", "evidence", "snapshot", "move"])
def test_a_killed_publication_goes_on_in_its_session(night: Night, where: str) -> None:
    night.index.fail_at = where
    with pytest.raises(PublishError):
        night.run("generic", "neoverse-n1")
    assert night.index.head is None
    before = set(night.index.sessions)
    night.index.fail_at = None
    report = night.run("generic", "neoverse-n1")
    assert report.moved
    assert before <= set(night.index.sessions)
    assert len(night.index.sessions) == 1
    assert len(night.index.snapshots[str(report.snapshot)]) == 2


def test_a_published_build_is_adopted_when_the_head_lost_it(night: Night) -> None:
    first = night.run("generic")
    night.index.head = None
    report = night.run("generic", "neoverse-n1")
    assert report.moved
    assert sorted(night.workshop.made) == ["generic", "neoverse-n1"]
    assert set(night.index.snapshots[str(first.snapshot)]) <= set(night.index.snapshots[str(report.snapshot)])


def test_another_move_in_between_loses_nothing(night: Night) -> None:
    night.index.fail_at = "move"
    with pytest.raises(PublishError):
        night.run("generic")
    night.index.fail_at = None
    night.index.snapshots["20261123-9"] = {"other-1.whl": "hash"}
    night.index.head, night.index.serial = "20261123-9", 1
    report = night.run("generic")
    assert report.moved
    assert "other-1.whl" in night.index.snapshots[str(report.snapshot)]


def test_a_file_without_its_evidence_is_not_yet_published(night: Night) -> None:
    night.index.fail_at = "evidence"
    with pytest.raises(PublishError):
        night.run("generic")
    night.index.fail_at = None
    night.run("generic")
    assert len(night.index.evidence) == 3


def test_a_fault_of_ours_blocks_no_other_build_and_leaves_its_traceback(night: Night, tmp_path: Path) -> None:
    night.workshop.surprising = {"generic"}
    report = night.run("generic", "neoverse-n1", required=False)
    assert [cell.outcome for cell in report.cells] == ["failed", "built"]
    assert "ZeroDivisionError" in report.cells[0].detail
    assert "Traceback" in next((tmp_path / "logs").iterdir()).read_text()


def test_an_index_elsewhere_closes_its_channels_itself(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMWHEELS_INDEX", "https://index.example")
    assert close_channel("demo", (build, build), tmp_path, channel="nightly") == (
        f"armwheels-index mirror {build.recipe.project} --matrix demo --glibc {build.recipe.build.glibc}"
        " --channel nightly"
    )


def test_a_closure_that_fails_says_that_the_wheels_are_published(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARMWHEELS_INDEX", raising=False)
    monkeypatch.setattr(publish, "index_program", lambda: "false")
    with pytest.raises(PublishError, match="the wheels are published"):
        close_channel("demo", (build,), tmp_path, channel="nightly")


def test_of_several_published_wheels_the_newest_of_the_same_kind_counts(build: Build) -> None:
    local = build.full_version.partition("+")[2]
    files = {
        f"{build.recipe.project}-0.9+{local}-9_aa-cp311-cp311-linux_aarch64.whl": "1",
        f"{build.recipe.project}-1.0+{local}-1_aa-cp311-cp311-linux_aarch64.whl": "2",
        f"{build.recipe.project}-1.0+{local}-2_aa-cp311-cp311-linux_aarch64.whl": "3",
        f"{build.recipe.project}-1.0+{local}-3_aa-cp312-cp312-linux_aarch64.whl": "another Python",
        f"{build.recipe.project}-1.0+other-3_aa-cp311-cp311-linux_aarch64.whl": "another target",
        f"other-1.0+{local}-3_aa-cp311-cp311-linux_aarch64.whl": "another project",
        "readme.txt": "no wheel",
    }
    found = publish.published_before(files, build)
    assert found is not None
    assert found[1] == "3"
    assert publish.published_before({}, build) is None
