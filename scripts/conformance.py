"""Run real pip, uv, Poetry, PDM and twine against an index, and hold its answers against the standards.

    .venv/bin/python -m scripts.conformance                          # Armwheels, devpi and pypiserver, side by side
    .venv/bin/python -m scripts.conformance --peer armwheels --json
    .venv/bin/python -m scripts.conformance --simple URL --upload URL --user NAME --password SECRET

The last form tests any index: it uploads four small wheels, whose projects begin with PREFIX, and installs them.
The index must be empty of them. Exit code 1: Armwheels, or the index of --simple, fails a check that is no option.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import html.parser
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import psutil

from builder.toolbox.fetch import uv_environment
from scripts.peers import BIN, PEERS, Peer

POETRY, PDM = "poetry==2.5.1", "pdm[locked]==2.29.1"
JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
_SECONDS = 300


class Failed(Exception):  # noqa: N818 - an answer, not a fault of this program
    """The index does not do what the check asks for."""


def need(condition: object, message: str) -> None:
    """Raise :class:`Failed` unless the condition holds."""
    if not condition:
        raise Failed(message)


class Links(html.parser.HTMLParser):
    """The anchors of a page, each with its attributes, and the page's meta elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: list[dict[str, str]] = []
        self.meta: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.anchors.append(found)
        elif tag == "meta" and "name" in found:
            self.meta[found["name"]] = found.get("content", "")


def wheel(name: str, version: str, *lines: str, file_version: str = "") -> tuple[str, bytes]:
    """Return a pure wheel with these lines in its METADATA."""
    spelled = name.replace("-", "_").replace(".", "_")
    info = f"{spelled}-{version}.dist-info"
    metadata = "\n".join(["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines, ""])
    files = {
        f"{spelled.lower()}.py": f"version = {version!r}\n".encode(),
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: conformance\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{info}/RECORD,,"]
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append(f"{path},sha256={digest},{len(data)}")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in {**files, f"{info}/RECORD": "\n".join(record).encode()}.items():
            archive.writestr(zipfile.ZipInfo(path), data)  # the same bytes each time
    return f"{spelled}-{file_version or version}-py3-none-any.whl", buffer.getvalue()


@dataclass
class Trial:
    """One index under trial. ``folder`` is for files of the clients."""

    peer: Peer
    prefix: str
    folder: Path
    http: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=60, follow_redirects=True))

    @property
    def alpha(self) -> str:
        return f"{self.prefix}-alpha"

    @property
    def beta(self) -> str:
        return f"{self.prefix}-beta-two"

    @property
    def gamma(self) -> str:
        """What is uploaded to be refused. An index that takes it keeps the other projects as they are."""
        return f"{self.prefix}-gamma"

    def wheels(self) -> dict[str, bytes]:
        return dict(
            [
                wheel(self.alpha, "1.0"),
                wheel(self.alpha, "1.1"),
                wheel(self.alpha, "2.0", "Requires-Python: >=3.99"),
                wheel(f"{self.prefix}.Beta_Two", "1.0", f"Requires-Dist: {self.alpha}>=1"),
            ]
        )

    def run(self, *command: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a client in an environment that knows no other index."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PIP_", "UV_", "POETRY_"))
        }
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        environment |= {
            "HOME": str(home),
            "PIP_CONFIG_FILE": os.devnull,
            "XDG_CONFIG_HOME": str(home),
            "XDG_CONFIG_DIRS": str(home),
            "UV_CACHE_DIR": str(self.folder / "uv-cache"),
            "POETRY_VIRTUALENVS_IN_PROJECT": "true",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            "PDM_CHECK_UPDATE": "false",
        }
        return subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            env=environment,
            cwd=cwd or self.folder,
        )

    def succeeds(self, *command: object, cwd: Path | None = None) -> str:
        done = self.run(*command, cwd=cwd)
        lines = (done.stdout + done.stderr).strip().splitlines() or [""]  # the error comes last
        need(done.returncode == 0, f"exit code {done.returncode}: {lines[-1].strip()[:100]}")
        return done.stdout

    def tool(self, requirement: str, program: str) -> list[object]:
        """Return the command of a tool. It is installed before, from the indexes of this machine."""
        name = re.sub(r"[^a-z0-9.]+", "-", requirement)
        # A folder of this user's: another one could not use it, nor be trusted with it.
        folder = Path(tempfile.gettempdir()) / f"armwheels-conformance-{os.getuid()}" / name
        if not (folder / "bin" / program).exists():
            subprocess.run([BIN / "uv", "venv", "--quiet", "--clear", folder], check=True)
            subprocess.run(
                [BIN / "uv", "pip", "install", "--quiet", "--python", folder, requirement, "packaging>=26"],
                check=True,
                env=uv_environment(),
            )
        return [folder / "bin" / program]

    def venv(self, name: str) -> Path:
        folder = self.folder / name
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        return folder / "bin/python"

    @cached_property
    def page(self) -> Links:
        return Links(self.http.get(f"{self.peer.simple}{self.alpha}/", headers={"accept": "text/html"}).text)

    @cached_property
    def document(self) -> dict[str, object]:
        answer = self.http.get(f"{self.peer.simple}{self.alpha}/", headers={"accept": JSON})
        need(
            answer.headers["content-type"].split(";")[0] == JSON, f"it sends {answer.headers['content-type']}"
        )
        found: dict[str, object] = answer.json()
        return found

    def file(self, version: str) -> dict[str, str]:
        """The anchor of a version of alpha, with its absolute URL."""
        base = f"{self.peer.simple}{self.alpha}/"
        for anchor in self.page.anchors:
            url = urljoin(base, anchor["href"])
            if f"-{version}-py3" in url:
                return {**anchor, "href": url}
        raise Failed(f"the page has no file of {version}")

    def twine(self, *files: Path) -> subprocess.CompletedProcess[str]:
        return self.run(
            *(BIN / "twine", "upload", "--non-interactive", "--disable-progress-bar", "--verbose"),
            *("--username", self.peer.user, "--password", self.peer.password),
            *("--repository-url", self.peer.upload, *files),
        )

    def post(self, filename: str, data: bytes, **fields: str) -> httpx2.Response:
        """Upload as twine does, with other fields."""
        return self.http.post(
            self.peer.upload,
            data={":action": "file_upload", "protocol_version": "1", **fields},
            files={"content": (filename, data)},
            auth=(self.peer.user, self.peer.password),
        )


def _written(trial: Trial, *names: str) -> list[Path]:
    folder = trial.folder / "dist"
    folder.mkdir(exist_ok=True)
    for name, data in trial.wheels().items():
        (folder / name).write_bytes(data)
    return sorted(path for path in folder.iterdir() if not names or path.name in names)


# Uploads


def upload_by_twine(trial: Trial) -> None:
    files = [path for path in _written(trial) if "-1.1-" not in path.name]
    done = trial.twine(*files)
    need(done.returncode == 0, done.stdout.strip()[-200:])


def upload_by_uv(trial: Trial) -> None:
    files = [path for path in _written(trial) if "-1.1-" in path.name]
    trial.succeeds(
        *(BIN / "uv", "publish", "--publish-url", trial.peer.upload, "--trusted-publishing", "never"),
        *("--username", trial.peer.user, "--password", trial.peer.password, *files),
    )
    trial.peer.publish()


def same_file_again(trial: Trial) -> None:
    [file] = (path for path in _written(trial) if f"{trial.prefix}_alpha-1.0-" in path.name)
    done = trial.twine(file)
    need(done.returncode == 0 or "409" in done.stdout + done.stderr, "neither 200 nor 409")


def other_bytes(trial: Trial) -> None:
    name, data = wheel(trial.alpha, "1.0", "Summary: other bytes")
    answer = trial.post(
        name, data, name=trial.alpha, version="1.0", metadata_version="2.4", filetype="bdist_wheel"
    )
    need(answer.status_code in (400, 403, 409), f"it answers {answer.status_code}")


def wrong_digest(trial: Trial) -> None:
    name, data = wheel(trial.gamma, "3.0")
    fields = {"name": trial.gamma, "version": "3.0", "metadata_version": "2.4", "filetype": "bdist_wheel"}
    answer = trial.post(name, data, **fields, sha256_digest="0" * 64)
    need(400 <= answer.status_code < 500, f"it answers {answer.status_code}")


def broken_archive(trial: Trial) -> None:
    name, data = wheel(trial.gamma, "4.0")
    fields = {"name": trial.gamma, "version": "4.0", "metadata_version": "2.4", "filetype": "bdist_wheel"}
    answer = trial.post(name, data[:-40], **fields)
    need(400 <= answer.status_code < 500, f"it answers {answer.status_code}")


def version_unlike_name(trial: Trial) -> None:
    name, data = wheel(trial.gamma, "5.0", file_version="6.0")
    fields = {"name": trial.gamma, "version": "6.0", "metadata_version": "2.4", "filetype": "bdist_wheel"}
    answer = trial.post(name, data, **fields)
    need(400 <= answer.status_code < 500, f"it answers {answer.status_code}")


def upload_without_credentials(trial: Trial) -> None:
    name, data = wheel(trial.gamma, "7.0")
    answer = trial.http.post(
        trial.peer.upload,
        data={":action": "file_upload", "name": trial.gamma},
        files={"content": (name, data)},
    )
    need(answer.status_code in (401, 403), f"it answers {answer.status_code}")


# Pages


def root_page(trial: Trial) -> None:
    answer = trial.http.get(trial.peer.simple, headers={"accept": "text/html"})
    need(answer.status_code == 200, f"it answers {answer.status_code}")
    targets = {urljoin(trial.peer.simple, anchor["href"]) for anchor in Links(answer.text).anchors}
    for name in (trial.alpha, trial.beta):
        need(f"{trial.peer.simple}{name}/" in targets, f"no link to {name}/")


def other_spelling(trial: Trial) -> None:
    answer = trial.http.get(
        f"{trial.peer.simple}{trial.prefix.title()}.Beta_Two/", headers={"accept": "text/html"}
    )
    need(answer.status_code == 200 and "1.0" in answer.text, f"it answers {answer.status_code}")


def without_slash(trial: Trial) -> None:
    answer = trial.http.get(f"{trial.peer.simple}{trial.alpha}", headers={"accept": "text/html"})
    need(answer.status_code == 200, f"it answers {answer.status_code}")


def unknown_project(trial: Trial) -> None:
    answer = trial.http.get(f"{trial.peer.simple}{trial.prefix}-absent/")
    need(answer.status_code == 404, f"it answers {answer.status_code}")


def hashes(trial: Trial) -> None:
    for version in ("1.0", "1.1", "2.0"):
        url, _, fragment = trial.file(version)["href"].partition("#")
        need(fragment.startswith("sha256="), f"the fragment is {fragment!r}")
        digest = hashlib.sha256(trial.http.get(url).content).hexdigest()
        need(fragment == f"sha256={digest}", "the file has another hash")


def requires_python(trial: Trial) -> None:
    found = trial.file("2.0").get("data-requires-python")
    need(found == ">=3.99", f"data-requires-python is {found!r}")


def repository_version(trial: Trial) -> None:
    found = trial.page.meta.get("pypi:repository-version", "")
    need(found.startswith("1."), f"pypi:repository-version is {found!r}")


def core_metadata(trial: Trial) -> None:
    anchor = trial.file("1.0")
    told = anchor.get("data-core-metadata") or anchor.get("data-dist-info-metadata")
    need(told, "no data-core-metadata")
    answer = trial.http.get(anchor["href"].partition("#")[0] + ".metadata")
    need(answer.status_code == 200, f".metadata answers {answer.status_code}")
    if told and told.startswith("sha256="):
        need(told == f"sha256={hashlib.sha256(answer.content).hexdigest()}", "it has another hash")
    need(f"Name: {trial.alpha}" in answer.text, "it is no METADATA")


def json_page(trial: Trial) -> None:
    meta, files = trial.document.get("meta"), trial.document.get("files")
    need(isinstance(meta, dict) and str(meta.get("api-version", "")).startswith("1."), f"meta is {meta!r}")
    need(isinstance(files, list) and len(files) == 3, "it has not the three files")
    for one in files if isinstance(files, list) else ():
        need("sha256" in one["hashes"], "a file has no sha256")


def versions_and_sizes(trial: Trial) -> None:
    need(
        set(map(str, _list(trial, "versions"))) == {"1.0", "1.1", "2.0"},
        "versions are not those of the files",
    )
    for one in _list(trial, "files"):
        need(isinstance(one, dict) and isinstance(one.get("size"), int), "a file has no size")
        need(
            isinstance(one, dict) and str(one.get("upload-time", "")).endswith("Z"),
            "a file has no upload-time",
        )


def _list(trial: Trial, key: str) -> list[object]:
    found = trial.document.get(key)
    need(isinstance(found, list), f"no {key}")
    return found if isinstance(found, list) else []


def unknown_type(trial: Trial) -> None:
    answer = trial.http.get(f"{trial.peer.simple}{trial.alpha}/", headers={"accept": "application/x-unknown"})
    need(answer.status_code == 406, f"it answers {answer.status_code}")


def not_modified(trial: Trial) -> None:
    url = f"{trial.peer.simple}{trial.alpha}/"
    etag = trial.http.get(url, headers={"accept": JSON}).headers.get("etag")
    need(etag, "no ETag")
    answer = trial.http.get(url, headers={"accept": JSON, "if-none-match": etag or ""})
    need(answer.status_code == 304, f"it answers {answer.status_code}")


def compressed(trial: Trial) -> None:
    answer = trial.http.get(
        f"{trial.peer.simple}{trial.alpha}/", headers={"accept": JSON, "accept-encoding": "gzip"}
    )
    need(answer.headers.get("content-encoding") == "gzip", "it is not compressed")


def ranges(trial: Trial) -> None:
    url = trial.file("1.0")["href"].partition("#")[0]
    whole = trial.http.get(url).content
    part = trial.http.get(url, headers={"range": "bytes=10-19"})
    need((part.status_code, part.content) == (206, whole[10:20]), f"it answers {part.status_code}")


def head_of_file(trial: Trial) -> None:
    url = trial.file("1.0")["href"].partition("#")[0]
    answer = trial.http.head(url)
    need(
        answer.status_code == 200 and answer.headers.get("content-length"), f"it answers {answer.status_code}"
    )


# Clients


def _installed(trial: Trial, python: Path) -> None:
    spelled = trial.prefix.replace("-", "_")
    code = f"import {spelled}_alpha as a, {spelled}_beta_two as b; print(a.version, b.version)"
    need(trial.succeeds(python, "-c", code).split() == ["1.1", "1.0"], "other versions are installed")


def pip_installs(trial: Trial) -> None:
    python = trial.venv("pip")
    options = (
        "--isolated",
        "--index-url",
        trial.peer.simple,
        "--no-cache-dir",
        "--disable-pip-version-check",
    )
    trial.succeeds(python, "-m", "pip", "install", *options, trial.beta)
    _installed(trial, python)


def pip_installs_by_hash(trial: Trial) -> None:
    lines = [f"{trial.beta}==1.0", f"{trial.alpha}==1.1"]
    wheels = trial.wheels()
    locked = []
    for line in lines:
        stem = line.replace("-", "_").replace("==", "-").lower()
        [data] = (content for name, content in wheels.items() if name.lower().startswith(stem))
        locked.append(f"{line} --hash=sha256:{hashlib.sha256(data).hexdigest()}\n")
    (trial.folder / "requirements.txt").write_text("".join(locked))
    python = trial.venv("pip-hashes")
    options = (
        "--isolated",
        "--index-url",
        trial.peer.simple,
        "--no-cache-dir",
        "--disable-pip-version-check",
    )
    trial.succeeds(python, "-m", "pip", "install", *options, "--require-hashes", "-r", "requirements.txt")
    _installed(trial, python)


def uv_installs(trial: Trial) -> None:
    python = trial.venv("uv")
    trial.succeeds(
        BIN / "uv", "pip", "install", "--python", python, "--default-index", trial.peer.simple, trial.beta
    )
    _installed(trial, python)


def _project(trial: Trial, name: str, *tables: str) -> Path:
    folder = trial.folder / name
    folder.mkdir()
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    text = (
        f'[project]\nname = "trial"\nversion = "1"\nrequires-python = "=={version}.*"\n'
        f'dependencies = ["{trial.beta}"]\n\n' + "\n".join(tables)
    )
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return folder


def uv_locks(trial: Trial) -> None:
    index = f'[[tool.uv.index]]\nname = "trial"\nurl = "{trial.peer.simple}"\ndefault = true\n'
    folder = _project(trial, "uv-project", index)
    trial.succeeds(BIN / "uv", "lock", cwd=folder)
    packages = tomllib.loads((folder / "uv.lock").read_text(encoding="utf-8"))["package"]
    [alpha] = (one for one in packages if one["name"] == trial.alpha)
    need(all("hash" in one for one in alpha["wheels"]), "the lock has no hashes")
    trial.succeeds(BIN / "uv", "sync", "--locked", cwd=folder)
    _installed(trial, folder / ".venv/bin/python")


def poetry_locks(trial: Trial) -> None:
    source = f'[[tool.poetry.source]]\nname = "trial"\nurl = "{trial.peer.simple}"\npriority = "primary"\n'
    folder = _project(trial, "poetry-project", "[tool.poetry]\npackage-mode = false\n", source)
    poetry = trial.tool(POETRY, "poetry")
    trial.succeeds(*poetry, "lock", "--no-interaction", cwd=folder)
    trial.succeeds(*poetry, "install", "--no-interaction", "--no-root", cwd=folder)
    _installed(trial, folder / ".venv/bin/python")


def pdm_locks(trial: Trial) -> None:
    source = f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{trial.peer.simple}"\n'
    folder = _project(trial, "pdm-project", "[tool.pdm]\ndistribution = false\n", source)
    pdm = trial.tool(PDM, "pdm")
    python = trial.venv("pdm-project/.venv")
    trial.succeeds(*pdm, "use", "--first", python, cwd=folder)
    trial.succeeds(*pdm, "lock", cwd=folder)
    trial.succeeds(*pdm, "sync", "--no-self", cwd=folder)
    _installed(trial, python)


@dataclass(frozen=True)
class Check:
    """One check. A failure of what is ``optional`` is no fault: a standard allows it, or none asks for it."""

    name: str
    source: str
    run: Callable[[Trial], None]
    optional: bool = False


CHECKS = (
    Check("twine uploads", "twine 7", upload_by_twine),
    Check("uv publish uploads", "uv", upload_by_uv),
    Check("the same file again is no fault", "twine --skip-existing", same_file_again),
    Check("other bytes under a known name are refused", "PEP 694", other_bytes),
    Check("a wrong sha256_digest is refused", "Warehouse", wrong_digest),
    Check("a broken archive is refused", "Warehouse", broken_archive, optional=True),
    Check("METADATA unlike the file name is refused", "Warehouse", version_unlike_name, optional=True),
    Check("an upload needs credentials", "Warehouse", upload_without_credentials, optional=True),
    Check("the root page links all projects by normalized name", "PEP 503", root_page),
    Check("another spelling of a name leads to the page", "PEP 503", other_spelling),
    Check("a page without its slash leads to it", "PEP 503", without_slash),
    Check("an unknown project is 404", "PEP 503", unknown_project),
    Check("links have the sha256 of the file", "PEP 503", hashes),
    Check("links have data-requires-python", "PEP 503", requires_python),
    Check("the page names its version", "PEP 629", repository_version),
    Check("METADATA is served beside the file", "PEP 658, 714", core_metadata, optional=True),
    Check("the page comes as JSON", "PEP 691", json_page, optional=True),
    Check("JSON has versions, sizes and upload times", "PEP 700", versions_and_sizes, optional=True),
    Check("an unknown type is 406", "PEP 691", unknown_type, optional=True),
    Check("an unchanged page is 304", "RFC 9110", not_modified, optional=True),
    Check("a page is compressed", "RFC 9110", compressed, optional=True),
    Check("a part of a file is sent", "RFC 9110", ranges, optional=True),
    Check("HEAD of a file has its size", "RFC 9110", head_of_file),
    Check("pip installs the newest that fits", "pip", pip_installs),
    Check("pip installs by hash", "pip", pip_installs_by_hash),
    Check("uv installs", "uv", uv_installs),
    Check("uv locks and syncs", "uv", uv_locks),
    Check("Poetry locks and installs", "Poetry 2.5", poetry_locks),
    Check("PDM locks and syncs", "PDM 2.29", pdm_locks),
)


def results(trial: Trial, progress: Callable[[str], None]) -> dict[str, str]:
    """Run all checks on one index. Return the fault of each, empty for none."""
    found = {}
    for check in CHECKS:
        progress(f"{trial.peer.name}: {check.name}")
        try:
            check.run(trial)
            found[check.name] = ""
        except Failed as fault:
            found[check.name] = str(fault)
        except (httpx2.HTTPError, subprocess.TimeoutExpired, LookupError, ValueError) as error:
            found[check.name] = f"{type(error).__name__}: {str(error)[:100]}"
    return found


def table(found: dict[str, dict[str, str]]) -> str:
    """Return the results as a Markdown table."""
    names = list(found)
    lines = [f"| check | from | {' | '.join(names)} |", f"| --- | --- |{' --- |' * len(names)}"]
    for check in CHECKS:
        marks = []
        for name in names:
            fault = found[name][check.name]
            marks.append(
                "yes" if not fault else f"{'no' if check.optional else '**no**'}: {fault.replace('|', '/')}"
            )
        lines.append(f"| {check.name} | {check.source} | {' | '.join(marks)} |")
    return "\n".join(lines)


def main() -> None:
    """Try the indexes and print a table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--peer", action="append", choices=list(PEERS), help="repeatable; all without it")
    options.add_argument("--simple", help="URL of another index, as pip takes it")
    options.add_argument("--upload", help="the URL that twine uploads to")
    options.add_argument("--user", default="__token__")
    options.add_argument("--password", default="")
    options.add_argument("--prefix", default="conformance", help="of the projects that are uploaded")
    options.add_argument("--json", action="store_true", help="print the faults as JSON")
    asked = options.parse_args()
    found: dict[str, dict[str, str]] = {}

    def progress(text: str) -> None:
        print(
            f"\r\033[K{text}" if sys.stderr.isatty() else text,
            end="" if sys.stderr.isatty() else "\n",
            file=sys.stderr,
        )

    with tempfile.TemporaryDirectory(dir=os.environ.get("ARMWHEELS_SCRATCH")) as name, ExitStack() as stack:
        folder = Path(name)
        if asked.simple:
            simple = asked.simple.rstrip("/") + "/"
            peers = [
                Peer(
                    name="index", simple=simple, upload=asked.upload or simple, user=asked.user,
                    password=asked.password, process=psutil.Process(), publish=lambda: None,
                )
            ]  # fmt: skip
        else:
            peers = [stack.enter_context(PEERS[one](folder / one)) for one in asked.peer or PEERS]
        for peer in peers:
            place = folder / f"trial-{peer.name}"
            place.mkdir()
            found[peer.name] = results(Trial(peer, asked.prefix, place), progress)
    print(json.dumps(found, indent=1) if asked.json else table(found))
    own = next((found[name] for name in ("armwheels", "index") if name in found), {})
    sys.exit(any(own[check.name] and not check.optional for check in CHECKS) if own else 0)


if __name__ == "__main__":
    main()
