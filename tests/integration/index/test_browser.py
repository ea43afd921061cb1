"""The pages as Chromium shows them: axe-core finds nothing, no page is too wide, and no script is needed."""

from __future__ import annotations

import httpx2
import pytest

from scripts.check_pages import VIEWS, check, chromium, faults, paths
from tests.helpers.servers import Server
from tests.helpers.wheels import tuned_wheel
from tests.unit.index.pages.test_wheel import verdict

pytestmark = pytest.mark.slow


@pytest.fixture
def index(server: Server) -> Server:
    """Two snapshots; the second replaces a wheel. The wheels have verdicts, and long names."""
    for number, salt in enumerate(("", "rebuilt"), start=1):
        session = f"{number}" * 22
        for target in ("generic", "neoverse-v1"):
            name, data = tuned_wheel(target=target, salt=salt, number=number)
            assert server.upload(session, name, data).status_code == 200
        server.publish(session, f"key-{number}")
    simple = {"accept": "application/vnd.pypi.simple.v1+json"}
    page = httpx2.get(f"{server.url}/nightly/neoverse-v1/simple/demo/", headers=simple).json()
    sha256 = page["files"][0]["hashes"]["sha256"]
    for kind, body in (("bench", verdict()), ("audit", {"passed": True})):
        url = f"{server.url}/api/evidence/{sha256}/{kind}"
        assert httpx2.put(url, json=body, headers=server.auth).status_code == 200
    return server


def changes(url: str) -> str:
    new = httpx2.get(f"{url}/api/channels/nightly").json()["snapshot"]
    day, _, number = new.partition("-")
    return f"/snapshots/{new}/changes/{day}-{int(number) - 1}/"


@pytest.fixture
def _browser() -> None:
    try:
        with chromium():
            pass
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("_browser")
def test_every_page_is_accessible_and_fits(index: Server) -> None:
    pages = {**paths(index.url, "demo"), "changes": changes(index.url)}
    found = list(check(index.url, pages))
    assert len(found) == len(pages) * len(VIEWS)
    assert [one for one in found if one[2]] == []


@pytest.mark.usefixtures("_browser")
def test_a_fault_is_found() -> None:
    """The check can fail: a page without its language and title, with an image that says nothing."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.set_content("<img src=x><p style='width: 900px'>wide</p>")
        told = "\n".join(faults(page))
    assert "html-has-lang" in told
    assert "image-alt" in told
    assert "wider than the window" in told


@pytest.mark.usefixtures("_browser")
def test_the_way_from_the_front_page_to_a_wheel_without_a_script(index: Server) -> None:
    with chromium() as browser:
        page = browser.new_page(java_script_enabled=False)
        page.goto(index.url)
        page.get_by_role("link", name="Search").click()
        page.get_by_role("searchbox").or_(page.get_by_role("textbox")).fill("dem")
        page.keyboard.press("Enter")
        page.get_by_role("link", name="neoverse-v1").first.click()
        assert page.get_by_role("heading", level=1).inner_text() == "demo"
        page.get_by_role("link", name="evidence and speed").first.click()
        assert page.get_by_role("heading", name="Passport").is_visible()
        assert page.get_by_role("heading", name="Verdict of bench").is_visible()
        page.get_by_role("link", name="Which target is my CPU?").click()
        page.get_by_role("textbox").fill("graviton3")
        page.get_by_role("button").first.click()
        assert "neoverse-v1" in page.get_by_role("main").inner_text()
