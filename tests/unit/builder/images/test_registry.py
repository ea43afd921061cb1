"""The client of registries: how it answers what a registry asks, and what it refuses to believe."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from builder.errors import ConfigError, PublishError
from builder.images.layout import MANIFEST_TYPE, Descriptor
from builder.images.registry import Reference, Registry

CONFIG = b"{}"
LAYER = b"layer"


def described(data: bytes, media_type: str) -> dict[str, object]:
    return {
        "mediaType": media_type,
        "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
        "size": len(data),
    }


MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "config": described(CONFIG, "config"),
        "layers": [described(LAYER, "layer")],
        "annotations": {"armwheels.target": "neoverse-v1"},
    }
).encode()


def make_layout(folder: Path) -> Descriptor:
    (folder / "blobs/sha256").mkdir(parents=True)
    for data in (CONFIG, LAYER, MANIFEST):
        (folder / "blobs/sha256" / hashlib.sha256(data).hexdigest()).write_bytes(data)
    return Descriptor.model_validate(described(MANIFEST, MANIFEST_TYPE))


class Store:
    """A registry in memory that asks for a token, as large ones do; its uploads have addresses without a host."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.tags: dict[str, bytes] = {}
        self.asked: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.asked.append(f"{request.method} {request.url.path}")
        if request.url.path == "/token":
            return self.token(request)
        wanted = "pull" if request.method in ("GET", "HEAD") else "pull,push"
        if request.headers.get("authorization") not in (f"Bearer {wanted}", "Bearer pull,push"):
            named = f'Bearer realm="https://a.example/token",service="it",scope="repository:n:{wanted}"'
            return httpx2.Response(401, headers={"WWW-Authenticate": named})
        return self.answer(request)

    def token(self, request: httpx2.Request) -> httpx2.Response:
        assert request.headers["authorization"] == "Basic " + base64.b64encode(b"me:pass:word").decode()
        assert request.url.params["service"] == "it"
        scope = request.url.params["scope"].rpartition(":")[2]
        return httpx2.Response(200, json={"token": scope})

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        last = request.url.path.rpartition("/")[2]
        match request.method, request.url.path.split("/")[3]:
            case "POST", _:
                return httpx2.Response(202, headers={"Location": "/v2/n/blobs/uploads/7?state=x"})
            case "PUT", "blobs":
                assert request.url.params["state"] == "x"
                assert int(request.headers["content-length"]) == len(request.content)
                self.blobs[request.url.params["digest"]] = request.content
                return httpx2.Response(201)
            case "PUT", _:
                self.tags[last] = request.content
                return httpx2.Response(201)
            case _, "blobs":
                found = self.blobs.get(last)
            case _:
                found = self.tags.get(last)
        return httpx2.Response(404) if found is None else httpx2.Response(200, content=found)


def open_registry(store: Callable[[httpx2.Request], httpx2.Response], tag: str = "") -> Registry:
    at = Reference(f"registry.example/n{tag}")
    return Registry(at, "me:pass:word", transport=httpx2.MockTransport(store))


def test_a_push_obtains_a_token_for_writing_and_sends_nothing_twice(tmp_path: Path) -> None:
    store, manifest = Store(), make_layout(tmp_path)
    with open_registry(store) as registry:
        assert registry.push(tmp_path, manifest, ("1-v1", "nightly-v1")) == len(CONFIG) + len(LAYER)
        assert registry.push(tmp_path, manifest, ("stable-v1",)) == 0
    assert store.tags == {"1-v1": MANIFEST, "nightly-v1": MANIFEST, "stable-v1": MANIFEST}
    assert store.asked.count("GET /token") == 2  # one to read, one to write
    assert store.asked.index("PUT /v2/n/manifests/1-v1") > store.asked.index("PUT /v2/n/blobs/uploads/7")


def test_what_was_pushed_is_pulled(tmp_path: Path) -> None:
    store = Store()
    with open_registry(store) as registry:
        registry.push(tmp_path / "layout", make_layout(tmp_path / "layout"), ("1-v1",))
    with open_registry(store, ":1-v1") as registry:
        manifest = registry.pull(tmp_path / "blobs")
    assert manifest.annotations == {"armwheels.target": "neoverse-v1"}
    assert (tmp_path / "blobs" / manifest.layers[0].sha256).read_bytes() == LAYER


def test_other_bytes_than_the_digest_names_are_refused(tmp_path: Path) -> None:
    store = Store()
    with open_registry(store) as registry:
        registry.push(tmp_path / "layout", make_layout(tmp_path / "layout"), ("1-v1",))
    store.tags["sha256:" + "0" * 64] = MANIFEST
    with (
        open_registry(store, "@sha256:" + "0" * 64) as registry,
        pytest.raises(PublishError, match="in place"),
    ):
        registry.pull(tmp_path / "blobs")
    store.blobs = dict.fromkeys(store.blobs, b"other")
    with open_registry(store, ":1-v1") as registry, pytest.raises(PublishError, match="another file"):
        registry.pull(tmp_path / "blobs")
    assert not [path for path in (tmp_path / "blobs").iterdir() if path.suffix != ".lock"]


def test_a_refusal_says_why(tmp_path: Path) -> None:
    def refuse(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(403, json={"errors": [{"code": "DENIED", "message": "not yours"}]})

    with (
        open_registry(refuse) as registry,
        pytest.raises(PublishError, match=r"403 DENIED: not yours .*LOGIN"),
    ):
        registry.push(tmp_path, make_layout(tmp_path), ("x",))


@pytest.mark.parametrize(
    "text", ["numpy", "registry.example/", "registry.example/Numpy", "a.example/n:bad tag"]
)
def test_what_names_no_image_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="names no image"):
        Reference(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("127.0.0.1:5000/team/numpy:stable-neoverse-v1", "127.0.0.1:5000/team/numpy:stable-neoverse-v1"),
        ("a.example/n@sha256:" + "0" * 64, "a.example/n@sha256:" + "0" * 64),
        ("a.example/n", "a.example/n"),
    ],
)
def test_a_reference_is_shown_as_it_was_written(text: str, shown: str) -> None:
    assert str(Reference(text)) == shown
