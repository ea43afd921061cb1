"""Opens the pages of a running index in Debian's Chromium, runs axe-core over them, and keeps screenshots.

    python -m scripts.check_pages http://127.0.0.1:8080 --shots docs/pages

A page is taken wide and light, and narrow and dark. Exit code 1: a violation (WCAG 2.0 to 2.2, A and AA, and best
practices), or a page that is wider than the window. PATH has to have ``chromium``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

PAGES = {
    "front": "/",
    "channel": "/nightly/",
    "target": "/nightly/neoverse-v1/",
    "project": "/nightly/neoverse-v1/{project}/",
    "snapshots": "/snapshots/",
    "search": "/search/?q={project}",
    "cpu": "/cpu/?text=graviton3",
    "snapshot": "/snapshots/{snapshot}/",
    "wheel": "/api/wheels/{wheel}",
    "missing": "/simple/{project}/",
}
VIEWS: dict[str, dict[str, Any]] = {
    "wide-light": {"viewport": {"width": 1100, "height": 1400}, "color_scheme": "light"},
    "narrow-dark": {"viewport": {"width": 390, "height": 1400}, "color_scheme": "dark"},
}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the system's Chromium without a window.

    Raises:
        FileNotFoundError: there is none.
    """
    program = shutil.which("chromium")
    if program is None:
        raise FileNotFoundError("there is no chromium on PATH; apt install chromium")
    with sync_playwright() as playwright:
        # Its sandbox needs user namespaces, which containers often lack. The pages are our own.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def paths(base: str, project: str) -> dict[str, str]:
    """Return the paths of the pages: the channel's snapshot, and the first wheel of a project in it."""
    simple = {"accept": "application/vnd.pypi.simple.v1+json"}
    files = httpx2.get(f"{base}/nightly/neoverse-v1/simple/{project}/", headers=simple).json()["files"]
    snapshot = httpx2.get(f"{base}/api/channels/nightly").json()["snapshot"]
    known = {"project": project, "snapshot": snapshot, "wheel": files[0]["hashes"]["sha256"]}
    return {name: path.format(**known) for name, path in PAGES.items()}


def faults(page: Page) -> list[str]:
    """Return what is wrong with an open page."""
    found = Axe().run(page, options={"runOnly": RULES}).response["violations"]
    told = [f"{one['id']}: {one['help']}: {[node['html'] for node in one['nodes']]}" for one in found]
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return [*told, *([f"the page is {wide} pixels wider than the window"] if wide > 0 else [])]


def check(
    base: str, pages: Mapping[str, str], shots: Path | None = None
) -> Iterator[tuple[str, str, list[str]]]:
    """Open each page in each view. Yield its path, the view and the faults."""
    with chromium() as browser:
        for view, options in VIEWS.items():
            page = browser.new_page(
                **options, bypass_csp=True
            )  # the index allows no script, and axe-core is one
            for name, path in pages.items():
                page.goto(f"{base}{path}")
                if shots is not None:
                    page.screenshot(path=shots / f"{name}-{view}.png", full_page=True)
                yield path, view, faults(page)


def main() -> None:
    """Check each page in each view."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="address of the index")
    parser.add_argument("--project", default="numpy", help="whose pages are taken; nightly has it")
    parser.add_argument("--shots", type=Path, metavar="DIR", help="keep screenshots here")
    options = parser.parse_args()
    if options.shots:
        options.shots.mkdir(parents=True, exist_ok=True)
    base, wrong = options.base.rstrip("/"), 0
    for path, view, found in check(base, paths(base, options.project), options.shots):
        wrong += len(found)
        print(f"{path} {view}: {len(found)} faults")
        for one in found:
            print(f"  {one}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
