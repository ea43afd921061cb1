"""Downloads pinned files: Debian packages by apt's own fetcher, files of PyPI with pip's own configuration.

This module contains no URL: apt knows the mirror, its proxies and certificates, and pip knows the index. All other
downloads use requests, as pip and pypi-simple do, so that the same proxies, certificates, ``.netrc`` and variables
apply (Requests documentation, "Advanced Usage"). The client of our own index is another module and uses httpx2.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import requests
from pypi_simple import NoSuchProjectError, PyPISimple
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential
from urllib3.util import Retry

from builder.errors import ToolboxError
from builder.settings import variable
from builder.whole import create_once, sha256_of

APT_HELPER = Path("/usr/lib/apt/apt-helper")
_CHUNK = 1 << 20


class Mirror:
    """The Debian mirrors that apt on this machine uses.

    ``ARMWHEELS_DEBIAN_MIRROR`` names one where the host is not Debian or its own mirror lacks a suite.
    """

    @cached_property
    def bases(self) -> tuple[str, ...]:
        """Base addresses, each ending in a slash, best first.

        Raises:
            ToolboxError: apt is not configured with a Debian mirror.
        """
        if named := variable("ARMWHEELS_DEBIAN_MIRROR"):
            return (named.rstrip("/") + "/",)
        return _bases_of_apt()


def _bases_of_apt() -> tuple[str, ...]:
    try:
        listing = subprocess.run(
            [
                "apt-get",
                "indextargets",
                "--no-release-info",
                "--format",
                "$(REPO_URI) $(RELEASE) $(COMPONENT)",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ToolboxError(
            f"apt does not answer ({error}); name a mirror in ARMWHEELS_DEBIAN_MIRROR"
        ) from error
    bases: dict[str, None] = {}
    for line in listing.splitlines():
        uri, release, component = [*line.split(), "", "", ""][:3]
        if component == "main" and "-" not in release and "security" not in uri:
            bases[uri.rstrip("/") + "/"] = None
    if not bases:
        raise ToolboxError("apt names no Debian mirror; name one in ARMWHEELS_DEBIAN_MIRROR")
    return tuple(bases)


def fetch_debian(mirror: Mirror, path: str, sha256: str, target: Path) -> None:
    """Fetch ``path``, which is relative to the mirror, to ``target`` by apt-helper, which checks the hash.

    Raises:
        ToolboxError: no mirror has the file with this hash.
    """

    def download(file: Path) -> None:
        reasons = []
        for base in mirror.bases:
            with tempfile.TemporaryDirectory(dir=file.parent) as state:
                done = subprocess.run(
                    [
                        str(APT_HELPER),
                        *("-o", "Acquire::Retries=4", "-o", "APT::Sandbox::User="),
                        *("-o", f"Dir::State={state}", "-o", f"Dir::Cache={state}"),
                        *("download-file", base + path, str(file), f"SHA256:{sha256}"),
                    ],
                    capture_output=True,
                    text=True,
                    check=False,
                )
            if done.returncode == 0 and sha256_of(file) == sha256:
                file.chmod(0o644)
                return
            file.unlink(missing_ok=True)
            errors = [
                line
                for line in done.stdout.splitlines() + done.stderr.splitlines()
                if line[:2] in ("E:", "Er")
            ]
            reasons.append(" ".join(errors) or f"apt-helper ended with {done.returncode}")
        raise ToolboxError(f"{path} could not be fetched: {'; '.join(reasons)}")

    create_once(target, download)


@cache
def pip_settings() -> dict[str, str]:
    """The options that files and variables give to ``pip install`` on this machine, by name.

    pip prints each value as a Python literal. Of several files it prints all values, in no useful order, so it is
    asked again which one counts. A later section overrides an earlier one (pip's user guide, "Configuration").

    Raises:
        ToolboxError: pip cannot read its own configuration.
    """
    listed: dict[str, list[str]] = {}
    for line in _pip_config("list").splitlines():
        key, _, literal = line.partition("=")
        listed.setdefault(key, []).append(str(ast.literal_eval(literal)))
    settings: dict[str, str] = {}
    for section in ("global.", "install.", ":env:."):
        for key, values in listed.items():
            if key.startswith(section):
                value = values[0] if len(values) == 1 else _pip_config("get", key).removesuffix("\n")
                if value:  # pip passes over empty ones, too
                    settings[key.removeprefix(section)] = value
    return settings


def _pip_config(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolboxError(f"pip cannot read its configuration: {done.stderr.strip()}")
    return done.stdout


def pip_indexes() -> tuple[str | None, ...]:
    """The indexes (:pep:`503`) that pip uses, in its order; ``None`` is the default one."""
    settings = pip_settings()
    extra = [url for url in settings.get("extra-index-url", "").split() if url.startswith("http")]
    return (settings.get("index-url") or None, *extra)


def uv_environment() -> dict[str, str]:
    """This process's environment, with pip's indexes, certificates and proxy under uv's names for them.

    uv does not read pip's configuration (uv's documentation, "Compatibility with pip"). Without a file of
    certificates, pip trusts what the system trusts; uv does if it is told to.
    """
    settings = pip_settings()
    first, *extra = pip_indexes()
    given = {
        "UV_DEFAULT_INDEX": first,
        "UV_INDEX": " ".join(url for url in extra if url),
        "UV_INSECURE_HOST": " ".join(settings.get("trusted-host", "").split()),
        "UV_SYSTEM_CERTS": "true",
        "SSL_CERT_FILE": settings.get("cert"),
        "ALL_PROXY": settings.get("proxy"),
    }
    return {**os.environ, **{name: value for name, value in given.items() if value}}


def _session() -> requests.Session:
    session = requests.Session()
    retries = Retry(total=5, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))
    session.mount("https://", HTTPAdapter(max_retries=retries))
    session.mount("http://", HTTPAdapter(max_retries=retries))
    if cert := pip_settings().get("cert"):
        session.verify = cert
    return session


@retry(
    retry=retry_if_exception_type((requests.ConnectionError, requests.Timeout, ChunkedEncodingError)),
    stop=stop_after_attempt(5),
    wait=wait_exponential(max=20),
    reraise=True,
)
def _stream(url: str, file: Path) -> None:
    """Write the body of a URL to a file; a connection that breaks in mid-body is retried, too."""
    with _session() as session, session.get(url, stream=True, timeout=60) as response, file.open("wb") as out:
        response.raise_for_status()
        for chunk in response.iter_content(_CHUNK):
            out.write(chunk)


def download(url: str, file: Path) -> None:
    """Fetch a URL to a file, with the proxies and certificates that pip uses; callers check the hash.

    Raises:
        ToolboxError: the server does not answer, or refuses.
    """
    try:
        _stream(url, file)
    except requests.RequestException as error:
        raise ToolboxError(f"{url} could not be fetched: {error}") from error


def fetch_pypi(project: str, filename: str, sha256: str, target: Path) -> None:
    """Fetch one file of a project from the indexes that pip uses, and check its sha256.

    Raises:
        ToolboxError: no index has the file with this hash; the message has the reason of each.
    """

    def download(file: Path) -> None:
        reasons = []
        for index in pip_indexes():
            file.unlink(missing_ok=True)
            try:
                _download_pypi(index, project, filename, file)
            except ToolboxError as error:
                reasons.append(str(error))
                continue
            found = sha256_of(file)
            if found == sha256:
                return
            reasons.append(f"its sha256 is {found}, pinned is {sha256}")
        raise ToolboxError(f"{filename} could not be fetched: {'; '.join(reasons)}")

    create_once(target, download)


def _download_pypi(index: str | None, project: str, filename: str, target: Path) -> None:
    """Download one file of a project from one index; ``None`` is the default one.

    Raises:
        ToolboxError: the index does not have it, or does not answer.
    """
    options: dict[str, Any] = {} if index is None else {"endpoint": index}
    try:
        with PyPISimple(session=_session(), **options) as client:
            page = client.get_project_page(project)
            package = next((p for p in page.packages if p.filename == filename), None)
            if package is None:
                raise ToolboxError("the index does not list it")
            client.download_package(package, target, verify=False)
    except NoSuchProjectError:
        raise ToolboxError("the index does not know the project") from None
    except (requests.RequestException, ValueError) as error:
        raise ToolboxError(f"{type(error).__name__}: {error}") from error


def resolve_pypi(requirements: tuple[str, ...], *, arm64: bool = False) -> list[dict[str, Any]]:
    """Ask pip what it would install for ``requirements`` without their dependencies, here or on an ``arm64`` host.

    Returns the entries of pip's installation report (``metadata``, ``download_info``).

    Raises:
        ToolboxError: pip finds no wheel.
    """
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in (36, 28, 17)] if arm64 else []
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pip",
                "install",
                *platforms,
                "--quiet",
                "--dry-run",
                "--ignore-installed",
                "--no-deps",
            ),
            *("--only-binary", ":all:", "--report", "-", *requirements),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ToolboxError(f"pip finds no wheel for {', '.join(requirements)}: {done.stderr.strip()}")
    entries: list[dict[str, Any]] = json.loads(done.stdout)["install"]
    return entries


class Listed(NamedTuple):
    """A file that an index lists, with the hash it states."""

    filename: str
    sha256: str
    yanked: bool = False


def list_pypi(project: str) -> list[Listed]:
    """The files of a project that have a sha256, in the order of the indexes that pip uses.

    A project that no index knows has no files.

    Raises:
        ToolboxError: no index lists a file, and at least one did not answer.
    """
    listed: list[Listed] = []
    reasons = []
    for index in pip_indexes():
        options: dict[str, Any] = {} if index is None else {"endpoint": index}
        try:
            with PyPISimple(session=_session(), **options) as client:
                page = client.get_project_page(project)
        except NoSuchProjectError:
            continue
        except (requests.RequestException, ValueError) as error:
            reasons.append(f"{type(error).__name__}: {error}")
            continue
        listed += [
            Listed(p.filename, p.digests["sha256"], bool(p.is_yanked))
            for p in page.packages
            if "sha256" in p.digests
        ]
    if reasons and not listed:
        raise ToolboxError(f"no index lists {project}: {'; '.join(reasons)}")
    return listed
