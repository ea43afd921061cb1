"""A client of OCI registries: pushes and pulls one image (OCI distribution-spec 1.1).

A registry says in its first answer how it wants to be asked: openly, by name and password, or with a token that its
own service gives for them (``WWW-Authenticate``, RFC 9110 section 11.6.1; "Token Authentication Specification" of
CNCF distribution).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.request import parse_http_list, parse_keqv_list

import httpx2
from pydantic import ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from builder.errors import ConfigError, PublishError
from builder.images.layout import MANIFEST_TYPE, Descriptor, Manifest, read_manifest
from builder.whole import create_once, sha256_of

_TIMEOUT = httpx2.Timeout(60.0, write=600.0, read=600.0)
_CHUNK = 1 << 20
_LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?")
_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class Reference:
    """``REGISTRY/NAME``, with ``:TAG`` or ``@sha256:…`` behind it or neither.

    Raises:
        ConfigError: it is none (distribution-spec, "Pulling manifests").
    """

    def __init__(self, text: str) -> None:
        self.registry, slash, rest = text.partition("/")
        rest, _, digest = rest.partition("@")
        self.name, _, tag = rest.partition(":")
        self.reference = digest or tag
        if not slash or not _NAME.fullmatch(self.name) or (tag and not _TAG.fullmatch(tag)):
            raise ConfigError(f"'{text}' names no image; write REGISTRY/NAME, such as registry.example/numpy")

    def __str__(self) -> str:
        mark = "" if not self.reference else "@" if ":" in self.reference else ":"
        return f"{self.registry}/{self.name}{mark}{self.reference}"


class Registry:
    """One repository of a registry; ``login`` is ``USER:PASSWORD`` for registries that ask.

    Only a registry on this machine is spoken to without TLS. ``transport`` takes the place of the network.
    """

    def __init__(
        self, at: Reference, login: str | None = None, *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self.at = at
        scheme = "http" if _LOOPBACK.fullmatch(at.registry) else "https"
        self._client = httpx2.Client(
            base_url=f"{scheme}://{at.registry}/v2/{at.name}/",
            auth=_Asked(login),
            timeout=_TIMEOUT,
            follow_redirects=True,
            transport=transport,
        )

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._client.close()

    def push(self, layout: Path, manifest: Descriptor, tags: tuple[str, ...]) -> int:
        """Push an image of a layout under tags, which move if they exist; returns the bytes that were sent.

        The manifest comes last: a tag never names an image that is not whole.

        Raises:
            PublishError: the registry refuses, or does not answer.
        """
        content = (layout / manifest.blob).read_bytes()
        described = read_manifest(layout, manifest)
        sent = sum(
            self._push_blob(layout / blob.blob, blob) for blob in (*described.layers, described.config)
        )
        for tag in tags:
            answer = self._request(
                "PUT", f"manifests/{tag}", (201,), content=content, headers={"Content-Type": MANIFEST_TYPE}
            )
            stored = answer.headers.get("docker-content-digest", manifest.digest)
            if stored != manifest.digest:
                raise PublishError(f"{self.at.registry} stored {stored} in place of {manifest.digest}")
        return sent

    def pull(self, blobs: Path) -> Manifest:
        """Fetch the image of the reference into the folder ``blobs``; returns its manifest.

        Raises:
            PublishError: there is no such image, or a file does not match its digest.
        """
        reference = self.at.reference or "latest"
        answer = self._request("GET", f"manifests/{reference}", headers={"Accept": MANIFEST_TYPE})
        digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        if ":" in reference and reference != digest:
            raise PublishError(f"{self.at.registry} sent {digest} in place of {reference}")
        try:
            manifest = Manifest.model_validate_json(answer.content)
        except ValidationError as error:
            raise PublishError(f"{self.at} is no image of one platform: {error}") from error
        for blob in (*manifest.layers, manifest.config):
            create_once(blobs / blob.sha256, partial(self._pull_blob, blob))
        return manifest

    def _push_blob(self, path: Path, blob: Descriptor) -> int:
        """Send a blob in one piece, unless the registry has it; returns the bytes that were sent."""
        if self._request("HEAD", f"blobs/{blob.digest}", (200, 404)).status_code == 200:
            return 0
        for attempt in _attempts():
            with attempt:
                # This request obtains the right to write: the next one has a body that cannot be sent twice.
                begun = self._once("POST", "blobs/uploads/", (202,))
                place = httpx2.URL(begun.url).join(begun.headers["location"])
                self._once(
                    "PUT",
                    str(place.copy_merge_params({"digest": blob.digest})),
                    (201,),
                    content=_parts(path),
                    headers={"Content-Length": str(blob.size), "Content-Type": "application/octet-stream"},
                )
        return blob.size

    def _pull_blob(self, blob: Descriptor, path: Path) -> None:
        for attempt in _attempts():
            with attempt:
                self._download(blob, path)
        if sha256_of(path) != blob.sha256:
            raise PublishError(f"{self.at.registry} sent another file in place of {blob.digest}")

    def _download(self, blob: Descriptor, path: Path) -> None:
        try:
            with self._client.stream("GET", f"blobs/{blob.digest}") as answer, path.open("wb") as file:
                if answer.status_code != 200:
                    answer.read()
                    raise PublishError(f"{self.at}: {blob.digest}: {answer.status_code} {_reason(answer)}")
                for chunk in answer.iter_bytes(_CHUNK):
                    file.write(chunk)
        except httpx2.TransportError as error:
            raise _UnansweredError(f"{self.at.registry} does not answer: {error}") from error

    def _request(
        self, method: str, path: str, accept: tuple[int, ...] = (200,), **options: Any
    ) -> httpx2.Response:
        for attempt in _attempts():
            with attempt:
                return self._once(method, path, accept, **options)
        raise AssertionError("tenacity re-raises the last failure")

    def _once(self, method: str, path: str, accept: tuple[int, ...], **options: Any) -> httpx2.Response:
        try:
            answer = self._client.request(method, path, **options)
        except httpx2.TransportError as error:
            raise _UnansweredError(
                f"{self.at.registry} does not answer: {error or type(error).__name__}"
            ) from error
        if answer.status_code in accept:
            return answer
        message = f"{self.at}: {method}: {answer.status_code} {_reason(answer)}"
        if answer.status_code in (401, 403):
            message += " (ARMWHEELS_REGISTRY_LOGIN holds USER:PASSWORD)"
        if answer.status_code >= 500 or answer.status_code == 429:
            raise _UnansweredError(message)
        raise PublishError(message)


class _UnansweredError(PublishError):
    """A temporary failure, after which the request is sent again."""


class _Asked(httpx2.Auth):
    """Answers what a registry asks for; a token is kept until the registry refuses it."""

    def __init__(self, login: str | None) -> None:
        user, _, password = (login or "").partition(":")
        self._basic = httpx2.BasicAuth(user, password) if login else None
        self._header: str | None = None

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send a request; if it is refused, obtain what the refusal names and send it once more."""
        if self._header is not None:
            request.headers["Authorization"] = self._header
        answer = yield request
        if answer.status_code != 401:
            return
        scheme, _, parameters = answer.headers.get("www-authenticate", "").partition(" ")
        if scheme.lower() == "bearer":
            asked = parse_keqv_list(parse_http_list(parameters))
            named = {key: value for key, value in asked.items() if key in ("service", "scope")}
            told = yield self._with_login(httpx2.Request("GET", asked.get("realm", ""), params=named))
            if told.status_code != 200:
                return
            told.read()
            body = json.loads(told.content)
            self._header = f"Bearer {body.get('token') or body.get('access_token')}"
        elif scheme.lower() == "basic" and self._basic is not None:
            self._header = self._with_login(httpx2.Request("GET", request.url)).headers["Authorization"]
        else:
            return
        request.headers["Authorization"] = self._header
        yield request

    def _with_login(self, request: httpx2.Request) -> httpx2.Request:
        return next(self._basic.auth_flow(request)) if self._basic is not None else request


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            yield part


def _attempts() -> Retrying:
    return Retrying(
        retry=retry_if_exception_type(_UnansweredError),
        stop=stop_after_attempt(5),
        wait=wait_exponential_jitter(multiplier=0.2, max=10),
        reraise=True,
    )


def _reason(answer: httpx2.Response) -> str:
    """What a registry says (distribution-spec, "Error Codes"), else the phrase of the status."""
    try:
        errors = answer.json()["errors"]
        return "; ".join(f"{one['code']}: {one.get('message', '')}" for one in errors)
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase
