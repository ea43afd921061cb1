"""Pages that people read: every link leads somewhere, and each page says what it is for."""

from __future__ import annotations

import hashlib
import tomllib
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup
from packaging.pylock import Pylock
from starlette.testclient import TestClient

from index_server.settings import Settings
from index_server.targets import Target, Targets
from tests.unit.index.api.test_damage import DEMO, Index

ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture
def index(settings: Settings) -> Index:
    return Index(settings)


def soup(http: TestClient, path: str, status: int = 200) -> BeautifulSoup:
    answer = http.get(path)
    assert answer.status_code == status, (path, answer.text)
    return BeautifulSoup(answer.text, "html.parser")


def text(page: BeautifulSoup) -> str:
    return " ".join(page.get_text(" ").split())


def test_every_link_from_the_front_page_on_leads_to_a_page(index: Index) -> None:
    waiting, seen, titles = ["/"], set(), {}
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = index.http.get(path)
        assert answer.status_code == 200, path
        if "text/html" not in answer.headers["content-type"]:
            continue
        page = BeautifulSoup(answer.text, "html.parser")
        titles[path] = page.title.text if page.title else ""
        hrefs = [link["href"] for link in page.find_all(["a", "link"], href=True)]
        waiting += [urlsplit(urljoin(path, str(href))).path for href in hrefs]
    people = {path: title for path, title in titles.items() if "/simple/" not in path and "/api/" not in path}
    assert {"/", "/nightly/", "/stable/", "/snapshots/", "/search/", "/cpu/"} <= people.keys()
    assert "/nightly/neoverse-v1/demo/" in people
    assert f"/snapshots/{index.snapshots[1]}/changes/{index.snapshots[0]}/" in people
    assert len(set(people.values())) > len(people) - 4, "pages have titles of their own"


@pytest.mark.parametrize("path", ["/", "/nightly/", "/nightly/neoverse-v1/", "/nightly/neoverse-v1/demo/",
                                  "/snapshots/", "/search/?q=d", "/cpu/"])  # fmt: skip
def test_pages_run_nothing_and_load_nothing(index: Index, path: str) -> None:
    answer = index.http.get(path)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    page = BeautifulSoup(answer.text, "html.parser")
    assert page.find(["script", "img", "iframe"]) is None
    assert page.html is not None
    assert page.html["lang"] == "en"
    assert len(page.find_all("h1")) == 1
    for field in page.find_all(["input", "textarea"]):
        assert page.find("label", attrs={"for": field["id"]}) is not None


def test_a_channel_tells_its_moves_and_gates(index: Index) -> None:
    page = text(soup(index.http, "/nightly/"))
    assert index.snapshots[1] in page
    assert "by ann" not in page  # names stand in a column of their own
    assert " ann " in page
    assert f"since {index.snapshots[0]}" in page
    assert "Nothing is published here yet" in text(soup(index.http, "/stable/"))


def test_what_changed_between_two_snapshots(index: Index) -> None:
    old, new = index.snapshots
    page = text(soup(index.http, f"/snapshots/{new}/changes/{old}/"))
    assert "other-2.0-py3-none-any.whl" in page
    back = text(soup(index.http, f"/snapshots/{old}/changes/{new}/"))
    assert "removed other-2.0-py3-none-any.whl" in back or "replaced other-2.0-py3-none-any.whl" in back
    assert "Nothing changed" in text(soup(index.http, f"/snapshots/{new}/changes/{new}/"))
    soup(index.http, f"/snapshots/{new}/changes/20200101-1/", 404)


def test_a_project_has_lines_to_copy_and_its_wheels(index: Index) -> None:
    page = soup(index.http, "/nightly/neoverse-v1/demo/")
    lines = "\n".join(pre.text for pre in page.find_all("pre"))
    sha256 = index.urls["demo"][0]["hashes"]["sha256"]
    pinned = f"http://testserver/snapshots/{index.snapshots[1]}/neoverse-v1/simple/"
    assert "explicit = true" in lines
    assert f"--index-url {pinned}" in lines
    assert f"--hash=sha256:{sha256}" in lines
    told = text(page)
    assert "yanked: bad" in told
    assert "neoverse-v1" in told
    link = page.find("a", string="evidence and speed")
    assert link is not None
    assert urljoin("/nightly/neoverse-v1/demo/", str(link["href"])) == f"/api/wheels/{sha256}"
    assert DEMO[0] in index.http.get(f"/api/wheels/{sha256}").text


def test_a_wheel_tells_where_it_is_from(index: Index) -> None:
    sha256 = index.urls["demo"][0]["hashes"]["sha256"]
    page = soup(index.http, f"/api/wheels/{sha256}")
    facts = {row.th.text: row.td.text for row in page.table.find_all("tr")}
    assert facts["target"] == "neoverse-v1"
    assert facts["uploaded"].endswith("by ann")
    links = {link.text: urljoin(f"/api/wheels/{sha256}", str(link["href"])) for link in page.find_all("a")}
    assert index.http.get(links["download"]).content == DEMO[1]
    assert index.http.get(links["its metadata"]).text.startswith("Metadata-Version")


def test_search(index: Index) -> None:
    page = soup(index.http, "/search/?q=OTH")
    assert [link["href"] for link in page.find_all("a", string="neoverse-v1")] == [
        "../nightly/neoverse-v1/other/"
    ]
    nothing = text(soup(index.http, "/search/?q=%3Cb%3E"))
    assert "No channel has a project with “<b>” in its name" in nothing
    assert "No channel" not in text(soup(index.http, "/search/"))


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("Vendor+ID%3A+ARM%0AModel+name%3A++Neoverse-V1", "neoverse-v1 : "),
        ("graviton3", "neoverse-v1 : "),
        (
            "CPU+implementer%3A+0x99%0ACPU+part%3A+0x001",
            "No target has the implementer and part number 0x99:0x001",
        ),
        ("hello", "no lines of implementer and part"),
        ("%FF%00", "no lines of implementer and part"),
    ],
)
def test_which_target_is_my_cpu(index: Index, query: str, told: str) -> None:
    assert told in text(soup(index.http, f"/cpu/?text={query}"))


def test_a_part_number_names_the_target() -> None:
    targets = Targets(
        [Target("neoverse-v1", "", (), (), parts=("0x41:0xd40",)), Target("generic", "", (), ())]
    )
    cpuinfo = "processor\t: 0\nCPU implementer\t: 0x41\nCPU variant\t: 0x1\nCPU part\t: 0xd40\n"
    found, why = targets.of_machine(cpuinfo)
    assert found is targets.by_name["neoverse-v1"]
    assert why == "It has the implementer and part number 0x41:0xd40."


def test_the_feed_of_a_channel(index: Index) -> None:
    answer = index.http.get("/nightly/feed.atom")
    assert answer.headers["content-type"].startswith("application/atom+xml")
    feed = ElementTree.fromstring(answer.text)  # noqa: S314 - written by the code under test
    titles = [entry.findtext(f"{ATOM}title") for entry in feed.findall(f"{ATOM}entry")]
    assert titles == [f"nightly moved to {each}" for each in reversed(index.snapshots)]
    ids = [entry.findtext(f"{ATOM}id") for entry in feed.findall(f"{ATOM}entry")]
    assert len(set(ids)) == 2
    assert index.http.get("/weekly/feed.atom").status_code == 404


def test_the_root_has_no_index_and_names_those_that_have_the_project(index: Index) -> None:
    page = soup(index.http, "/simple/demo/", 404)
    hrefs = [urljoin("/simple/demo/", str(link["href"])) for link in page.find_all("a")]
    assert "/nightly/neoverse-v1/simple/demo/" in hrefs
    soup(index.http, "/simple/", 404)


def test_a_lock_file_of_a_snapshot(index: Index) -> None:
    path = f"/snapshots/{index.snapshots[1]}/neoverse-v1/pylock.toml"
    answer = index.http.get(f"{path}?project=demo==1.0&project=other&python=3.11")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/toml"
    lock = Pylock.from_dict(tomllib.loads(answer.text))
    assert [(package.name, str(package.version)) for package in lock.packages] == [
        ("demo", "1.0+neoverse.v1"),
        ("other", "2.0"),
    ]
    for package in lock.packages:
        for wheel in package.wheels or ():
            content = index.http.get(str(wheel.url)).content
            assert hashlib.sha256(content).hexdigest() == wheel.hashes["sha256"]
            assert len(content) == wheel.size


@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        ("", 400, "ask for ?project=NAME&python=3.13"),
        ("project=demo", 400, "ask for ?project=NAME&python=3.13"),
        ("project=demo&python=2.7", 400, "ask for ?project=NAME&python=3.13"),
        ("project=a%20b&python=3.11", 400, "'a b' is no requirement"),
        ("project=a%20@%20http://x/y.whl&python=3.11", 400, "names a file"),
        ("&".join(["project=demo"] * 51) + "&python=3.11", 400, "at most 50 projects"),
        ("project=demo&python=3.11", 409, "you ask for demo: there is 1.0+neoverse.v1 (yanked)"),
        ("project=none&python=3.11", 409, "you ask for none: no file of it is here for this Python"),
        ("project=demo&python=3.12", 409, "you ask for demo: no file of it is here for this Python"),
    ],
)
def test_a_lock_file_that_cannot_be_made(index: Index, query: str, status: int, reason: str) -> None:
    answer = index.http.get(f"/snapshots/{index.snapshots[1]}/neoverse-v1/pylock.toml?{query}")
    assert answer.status_code == status
    assert reason in answer.json()["reasons"][0]


def test_a_lock_file_needs_a_snapshot_and_a_target(index: Index) -> None:
    query = "project=demo&python=3.11"
    for path in (f"/snapshots/{index.snapshots[1]}/itanium", "/snapshots/20200101-1/neoverse-v1"):
        assert index.http.get(f"{path}/pylock.toml?{query}").status_code == 404


def test_the_front_page_says_what_is_new(index: Index) -> None:
    told = text(soup(index.http, "/"))
    assert "What is new" in told
    first, second = index.snapshots
    assert told.index(f"nightly {second} other since {first}") < told.index(f"nightly {first} demo, other")


def test_snapshots_show_promotions_and_yanks(index: Index) -> None:
    page = text(soup(index.http, f"/snapshots/{index.snapshots[0]}/"))
    assert "Promotions when channel by gates approved by message" in page
    assert "nightly ann none" in page
    assert f"yank {DEMO[0]} bad ann" in page
    assert f"yank {DEMO[0]} bad ann" in text(soup(index.http, "/snapshots/"))
