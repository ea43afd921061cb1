"""What a survey says of audits, what it keeps, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup

from builder.audit import AuditReport, Verdict
from builder.errors import ConfigError
from builder.survey import Answer, Entry, Result, Survey, Surveyor, ranked_projects, write_pages
from builder.survey import run as running
from builder.survey.model import result_of
from builder.targets import Targets
from builder.toolbox.fetch import Listed
from builder.toolbox.toolbox import Toolbox

WHEEL = "m-1.0-cp313-cp313-manylinux_2_28_aarch64.whl"
CPUS = ("generic", "neoverse-n1")
CHOICE = "only a choice at run time reaches, or nothing"


def report(
    *ranks: str, target: str = "generic", outcome: str = "pass", also: str | None = None
) -> AuditReport:
    places = [
        {"rank": rank, "member": "m.so", "function": f"f{n}", "address": "0x10", "extension": "sve"}
        for n, rank in enumerate(ranks)
    ]
    told = {"check": "instructions", "outcome": outcome, "detail": "d", "data": {"places": places}}
    verdicts = [Verdict.model_validate(told)]
    if also:
        verdicts.append(Verdict(check=also, outcome="fail", detail="first\nsecond"))
    return AuditReport(
        filename=WHEEL, sha256="ab" * 32, size=9, target=target, passed=False, verdicts=tuple(verdicts)
    )


@pytest.mark.parametrize(
    ("ranks", "answer", "reason"),
    [
        (("import", "called", "chosen"), Answer.IMPORT, "sve in f0 of m.so runs at import"),
        (("called", "chosen"), Answer.CALLED, "sve in f0 of m.so runs when it is called"),
        (
            ("chosen", "unreached"),
            Answer.CHOSEN,
            f"sve in 2 places that {CHOICE}",
        ),
        ((), Answer.RUNS, "every instruction exists on this CPU"),
    ],
)
def test_the_worst_place_is_the_answer(ranks: tuple[str, ...], answer: Answer, reason: str) -> None:
    found = result_of(report(*ranks))
    assert (found.answer, found.reason) == (answer, reason)


def test_what_a_rule_sets_aside_is_reached_only_by_dispatch() -> None:
    data = {"places": [], "allowed": {"OpenBLAS 0.3.30: DYNAMIC_ARCH": 12, "outline atomics": 3}}
    verdict = Verdict(check="instructions", outcome="pass", detail="", data=data)
    found = result_of(report().model_copy(update={"verdicts": (verdict,)}))
    assert (found.answer, found.reason) == (Answer.CHOSEN, "12 in OpenBLAS 0.3.30; 3 in outline atomics")


def test_other_faults_are_listed_beside() -> None:
    assert result_of(report(also="rpath")).faults == ("rpath: first",)


def test_without_code_nothing_is_said() -> None:
    assert result_of(report(outcome="not-applicable")).answer is Answer.UNKNOWN


class Audits:
    """Counts the audits of a surveyor that fetches nothing."""

    def __init__(self, targets: Targets, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.ranks: dict[str, tuple[str, ...]] = {}
        self.surveyor = Surveyor(Toolbox(home=home), targets, "cp313")
        monkeypatch.setattr(running, "list_pypi", lambda project: self.listed(project))
        monkeypatch.setattr(running, "fetch_pypi", self.fetch)
        monkeypatch.setattr(self.surveyor, "_audited", self.audited)

    def listed(self, project: str) -> list[Listed]:
        names = {"m": WHEEL, "pure": "pure-1.0-py3-none-any.whl"}
        return [Listed(names[project], "ab" * 32)] if project in names else []

    def fetch(self, _project: str, _name: str, _sha256: str, path: Path) -> None:
        path.write_bytes(b"123")

    def audited(self, _wheel: Path, target: object) -> Result:
        self.asked.append(str(target))
        return result_of(report(*self.ranks.get(str(target), ()), target=str(target)))

    def look(self, *targets: str, project: str = "m") -> Entry:
        return self.surveyor.look_at(project, targets, lambda _line: None)


@pytest.fixture
def audits(targets: Targets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Audits:
    return Audits(targets, tmp_path, monkeypatch)


def test_a_cpu_that_runs_all_of_a_lesser_one_needs_no_audit(audits: Audits) -> None:
    entry = audits.look("generic", "neoverse-n1", "neoverse-v1")
    assert audits.asked == ["generic"]
    assert [one.target for one in entry.results] == ["generic", "neoverse-n1", "neoverse-v1"]
    assert entry.size == 3


def test_where_the_lesser_one_lacks_something_each_is_audited(audits: Audits) -> None:
    audits.ranks = {"generic": ("chosen",)}
    audits.look("generic", "neoverse-n1", "neoverse-v1")
    assert audits.asked == ["generic", "neoverse-n1"]


def test_a_stopped_survey_goes_on_where_it_was(audits: Audits) -> None:
    audits.ranks = {"generic": ("import",)}
    audits.look("generic")
    entry = audits.look("generic", "neoverse-n1")
    assert audits.asked == ["generic", "neoverse-n1"]
    assert entry.worst is Answer.IMPORT
    assert not list((audits.surveyor._toolbox.home / "downloads").iterdir())


@pytest.mark.parametrize(
    ("project", "note"), [("pure", "no compiled code"), ("absent", "no wheel for cp313 on 64-bit Arm")]
)
def test_a_project_without_a_wheel_has_a_note(audits: Audits, project: str, note: str) -> None:
    assert audits.look("generic", project=project).note == note


def survey() -> Survey:
    results = (
        Result(target="generic", answer=Answer.IMPORT, reason="lse in <f> of m.so runs at import"),
        Result(target="neoverse-n1", answer=Answer.RUNS, reason="every instruction exists on this CPU"),
    )
    bad = Entry(project="bad", version="1.0", filename=WHEEL, sha256="ab" * 32, size=2048, results=results)
    good = bad.model_copy(update={"project": "good", "results": (results[1],)})
    absent = Entry(project="absent", note="no wheel")
    return Survey(made="2026-11-28", python="cp313", targets=CPUS, entries=(bad, good, absent))


def test_the_pages(tmp_path: Path, targets: Targets) -> None:
    made = survey()
    write_pages(made, tmp_path, targets)
    page = BeautifulSoup((tmp_path / "index.html").read_text(), "html.parser")
    row = page.find(id="bad")
    assert row is not None
    assert "dies at import" in row.text
    assert "lse in <f> of m.so runs at import" in row.text
    assert "no wheel" in page.find(id="absent").text
    assert Survey.model_validate_json((tmp_path / "survey.json").read_text()) == made
    badge = ElementTree.parse(tmp_path / "badges/bad.svg").getroot()  # noqa: S314 - written by the code under test
    assert badge.get("aria-label") == "arm64 CPUs: dies at import on generic"
    assert "runs on all 1" in (tmp_path / "badges/good.svg").read_text()
    assert not (tmp_path / "badges/absent.svg").exists()


def test_rankings(tmp_path: Path) -> None:
    file = tmp_path / "ranking"
    file.write_text("# most first\nnumpy\n\nscipy\n")
    assert ranked_projects(file) == ("numpy", "scipy")
    file.write_text(json.dumps({"rows": [{"project": "boto3"}, {"project": "numpy"}]}))
    assert ranked_projects(file) == ("boto3", "numpy")
    file.write_text('{"rows": 3}')
    with pytest.raises(ConfigError, match="not a ranking"):
        ranked_projects(file)
    assert len(ranked_projects()) >= 50
