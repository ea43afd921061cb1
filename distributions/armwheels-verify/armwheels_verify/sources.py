"""Where bytes come from: an index on the web, or a folder in which its answers were saved.

Nothing here is trusted. Each read has a limit, so that an endless answer ends.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from armwheels_verify.errors import RefusedError

CHUNK = 1 << 16  # bytes
TIMEOUT = 30.0  # seconds of silence


class Source(Protocol):
    """Answers of an index by their paths, such as ``tuf/timestamp.json``."""

    def chunks(self, path: str) -> Iterator[bytes]:
        """The bytes of an answer.

        Raises:
            FileNotFoundError: there is no such answer.
            DownloadError: the answer cannot be read.
        """


class Web:
    """An index at a URL. A user and password in the URL are sent with each request."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        named = f"{parts.username or ''}:{parts.password or ''}"
        self._headers = {"user-agent": "armwheels-verify"}
        if parts.username:
            self._headers["authorization"] = f"Basic {base64.b64encode(named.encode()).decode()}"
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(TIMEOUT), retries=2)

    def chunks(self, path: str) -> Iterator[bytes]:
        url = f"{self.url}/{path}"
        try:
            answer = self._pool.request("GET", url, headers=self._headers, preload_content=False)
            with answer:
                if answer.status == 404:
                    raise FileNotFoundError(url)
                if answer.status != 200:
                    raise DownloadHTTPError(f"{url}: status {answer.status}", answer.status)
                yield from answer.stream(CHUNK)
        except urllib3.exceptions.HTTPError as error:
            raise DownloadError(f"{url}: {error}") from error


class Saved:
    """A folder in which the answers of an index were saved."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def chunks(self, path: str) -> Iterator[bytes]:
        try:
            with place(self._folder, path).open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(path) from None
        except OSError as error:
            raise DownloadError(f"{path}: {error}") from error


class Saving:
    """Another source, whose answers are saved in a folder on the way."""

    def __init__(self, inner: Source, folder: Path) -> None:
        self._inner = inner
        self._folder = folder

    def chunks(self, path: str) -> Iterator[bytes]:
        target = place(self._folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        with part.open("wb") as file:
            for chunk in self._inner.chunks(path):
                file.write(chunk)
                yield chunk
        part.replace(target)


def place(folder: Path, path: str) -> Path:
    """The file of an answer below a folder. A path without a suffix gets one, since others may lie below it."""
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\\" in part for part in parts):
        raise RefusedError(f"{path!r} is no path of an index")
    return folder.joinpath(*parts[:-1], parts[-1] if "." in parts[-1] else f"{parts[-1]}.json")


def read(source: Source, path: str, limit: int) -> bytes:
    """An answer of at most ``limit`` bytes.

    Raises:
        FileNotFoundError: there is no such answer.
        RefusedError: it is longer, or cannot be read.
    """
    data = bytearray()
    try:
        for chunk in source.chunks(path):
            data += chunk
            if len(data) > limit:
                raise RefusedError(f"{path} is longer than {limit} bytes: endless data")
    except DownloadError as error:
        raise RefusedError(str(error)) from error
    return bytes(data)


class Fetcher(FetcherInterface):
    """The same for the TUF client, which sets the limits."""

    BASE = "index:///"

    def __init__(self, source: Source) -> None:
        self._source = source

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix(self.BASE)
        chunks = self._source.chunks(path)
        try:
            first = next(chunks, b"")
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"there is no {path}", 404) from error
        return _after(first, chunks)


def _after(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
