"""Runs axe-core over the pages of a running index in Debian's Chromium, and keeps screenshots of them.

    npm pack axe-core && tar xzf axe-core-*.tgz
    python -m scripts.check_pages http://127.0.0.1:8080 --axe package/axe.min.js --shots docs/pages

Each page is fetched, and opened as a file with axe-core beside it, since the index allows no script. A page is
taken wide and light, and narrow and dark. Exit code 1: a violation (WCAG 2.0 to 2.2, A and AA, and best practices).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from html import unescape
from pathlib import Path

import httpx2

PAGES = {
    "front": "/",
    "channel": "/nightly/",
    "target": "/nightly/neoverse-v1/",
    "project": "/nightly/neoverse-v1/numpy/",
    "snapshots": "/snapshots/",
    "search": "/search/?q=num",
    "cpu": "/cpu/?text=graviton3",
    "snapshot": "/snapshots/{snapshot}/",
    "wheel": "/api/wheels/{wheel}",
    "missing": "/simple/numpy/",
}
VIEWS = {"wide-light": (1100, False), "narrow-dark": (390, True)}
_RUN = """<script>{axe}</script><script>
const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
axe.run(document, {{runOnly: rules}}).then(r => {{
  const found = r.violations.map(v => ({{id: v.id, help: v.help, nodes: v.nodes.map(n => n.html)}}));
  const out = document.createElement("pre"); out.id = "axe"; out.textContent = JSON.stringify(found);
  document.body.append(out);
}});
</script></body>"""
_FOUND = re.compile(r'<pre id="axe">(.*?)</pre>', re.DOTALL)


def chromium(page: Path, width: int, *options: str, dark: bool) -> str:
    """Open a page in a headless Chromium, and return what it prints."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--window-size={width},1400", "--virtual-time-budget=10000", *options]
    if dark:
        command.append("--blink-settings=preferredColorScheme=0")
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def violations(text: str, axe: str, width: int, *, dark: bool) -> list[dict[str, object]]:
    """Return what axe-core finds in a page."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(text.replace("</body>", _RUN.format(axe=axe), 1), encoding="utf-8")
        found = _FOUND.findall(chromium(page, width, "--dump-dom", dark=dark))
    if not found:
        raise RuntimeError("axe-core did not answer")
    answer: list[dict[str, object]] = json.loads(unescape(found[-1]))
    return answer


def _paths(base: str) -> dict[str, str]:
    """Return the paths of the pages, with the newest snapshot and its first wheel of NumPy."""
    simple = {"accept": "application/vnd.pypi.simple.v1+json"}
    files = httpx2.get(f"{base}/nightly/neoverse-v1/simple/numpy/", headers=simple).json()["files"]
    snapshot = httpx2.get(f"{base}/api/channels/nightly").json()["snapshot"]
    known = {"snapshot": snapshot, "wheel": files[0]["hashes"]["sha256"]}
    return {name: path.format(**known) for name, path in PAGES.items()}


def main() -> None:
    """Check each page in each view."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("base", help="address of the index")
    parser.add_argument(
        "--axe", type=Path, required=True, metavar="FILE", help="axe.min.js of the npm package"
    )
    parser.add_argument("--shots", type=Path, metavar="DIR", help="keep screenshots here")
    options = parser.parse_args()
    axe = options.axe.read_text(encoding="utf-8")
    wrong = 0
    for name, path in _paths(options.base.rstrip("/")).items():
        text = httpx2.get(f"{options.base.rstrip('/')}{path}").text
        for view, (width, dark) in VIEWS.items():
            found = violations(text, axe, width, dark=dark)
            wrong += len(found)
            print(f"{path} {view}: {len(found)} violations")
            for one in found:
                print(f"  {one['id']}: {one['help']}: {one['nodes']}")
            if options.shots:
                options.shots.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory() as folder:
                    page = Path(folder) / "page.html"
                    page.write_text(text, encoding="utf-8")
                    chromium(
                        page,
                        width,
                        f"--screenshot={(options.shots / f'{name}-{view}.png').resolve()}",
                        dark=dark,
                    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
