"""Wheel variants through the whole application: refused, taken, listed and described."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import pytest
from starlette.testclient import TestClient

from index_server.access.tokens import make_token
from index_server.api.app import create_app
from index_server.policy import Policy
from index_server.rules.variants import document
from index_server.settings import Settings
from index_server.store.interface import ObjectStore
from tests.helpers.wheels import make_passport, make_wheel, tuned_wheel, variant_wheel
from tests.unit.index.api.test_app import SESSION, Client

V82, V84 = "armv8.2a", "armv8.4a"
ACCEPT = {"accept": "application/vnd.pypi.simple.v1+json"}
PAGE = "/nightly/variants/simple/demo/"
PLAIN = tuned_wheel(target="generic")
N1 = variant_wheel(V82, target="neoverse-n1")
V1 = variant_wheel(V84, target="neoverse-v1")
JSON_NAME = "demo-1.0+generic-variants.json"


@pytest.fixture
def client(make_store: Callable[[str], ObjectStore], settings: Settings) -> Client:
    made = Client(make_store("memory"), settings)
    made.http = TestClient(create_app(made.store, settings, Policy(variants=True)), follow_redirects=False)
    return made


def listed(client: Client, page: str = PAGE) -> dict[str, Any]:
    return {file["filename"]: file for file in client.json(page, **ACCEPT)["files"]}


def mark(client: Client, filename: str) -> Any:
    asked = {
        "kind": "quarantine",
        "filename": filename,
        "reason": "wrong",
        "nonce": f"nonce-of-{filename}"[:40],
    }
    token = make_token(client.store, "ann", None, ("yank",))
    return client.http.post("/api/status", json=asked, headers={"Authorization": f"Bearer {token}"})


def test_off_neither_taken_nor_shown(make_store: Callable[[str], ObjectStore], settings: Settings) -> None:
    client = Client(make_store("memory"), settings)
    refused = client.upload(*N1)
    assert refused.status_code == 400
    assert "ARMWHEELS_VARIANTS" in refused.text
    client.publish(PLAIN)
    assert client.get(PAGE).status_code == 404
    assert client.get(f"/snapshots/20261129-1/variants/demo/{JSON_NAME}").status_code == 404


def test_off_again_the_ordinary_pages_are_as_before(client: Client, settings: Settings) -> None:
    client.publish(PLAIN, N1, V1)
    on = {page: listed(client, page) for page in ("/nightly/generic/simple/demo/",)}
    client.http = TestClient(create_app(client.store, settings), follow_redirects=False)
    assert {page: listed(client, page) for page in on} == on
    assert list(on["/nightly/generic/simple/demo/"]) == [PLAIN[0]]
    assert client.get(PAGE).status_code == 404


def test_one_page_has_the_plain_wheel_its_variants_and_what_describes_them(client: Client) -> None:
    snapshot = client.publish(PLAIN, N1, V1, tuned_wheel(target="neoverse-n1"), tuned_wheel())
    for page in (PAGE, f"/snapshots/{snapshot}/variants/simple/demo/"):
        files = listed(client, page)
        assert set(files) == {PLAIN[0], N1[0], V1[0], JSON_NAME}
        for name, data in (PLAIN, N1, V1):
            assert files[name]["hashes"]["sha256"] == hashlib.sha256(data).hexdigest()
            assert client.get(urljoin(page, files[name]["url"])).content == data
        described = client.get(urljoin(page, files[JSON_NAME]["url"]))
        assert described.content == document([V82, V84])
        assert files[JSON_NAME]["hashes"]["sha256"] == hashlib.sha256(described.content).hexdigest()
        assert files[JSON_NAME]["size"] == len(described.content)
        assert "immutable" in described.headers["cache-control"]
        again = client.get(
            urljoin(page, files[JSON_NAME]["url"]), **{"if-none-match": described.headers["etag"]}
        )
        assert again.status_code == 304
        html = client.get(page, accept="text/html").text
        assert all(f">{name}</a>" in html for name in files)
    assert set(listed(client, "/nightly/generic/simple/demo/")) == {PLAIN[0]}
    assert client.json("/nightly/variants/simple/", **ACCEPT)["projects"] == [{"name": "demo"}]


def test_the_name_of_a_json_never_changes_its_meaning(client: Client) -> None:
    first = client.publish(PLAIN, N1)
    before = urljoin(PAGE, listed(client)[JSON_NAME]["url"])
    assert f"/snapshots/{first}/" in before
    told = client.get(before).content
    second = client.publish(V1, session="t" * 22, key="key-second")
    after = urljoin(PAGE, listed(client)[JSON_NAME]["url"])
    assert f"/snapshots/{second}/" in after
    assert client.get(before).content == told == document([V82])
    assert client.get(after).content == document([V82, V84])


def test_a_mark_takes_a_wheel_from_the_page_and_leaves_the_json(client: Client) -> None:
    client.publish(PLAIN, N1, V1)
    address = urljoin(PAGE, listed(client)[JSON_NAME]["url"])
    told = client.get(address).content
    assert mark(client, V1[0]).status_code == 201
    assert set(listed(client)) == {PLAIN[0], N1[0], JSON_NAME}
    assert client.get(address).content == told
    assert mark(client, PLAIN[0]).status_code == 201
    assert listed(client) == {}, "variants without the plain wheel"


@pytest.mark.parametrize(
    "path",
    [
        "demo/other-1.0+generic-variants.json",
        "other/" + JSON_NAME,
        "Demo/" + JSON_NAME,
        "demo/-variants.json",
    ],
)
def test_no_such_json(client: Client, path: str) -> None:
    snapshot = client.publish(PLAIN, N1)
    assert client.get(f"/snapshots/{snapshot}/variants/{path}").status_code == 404
    assert client.get(f"/snapshots/20200101-1/variants/demo/{JSON_NAME}").status_code == 404


def renamed(label: str) -> tuple[str, bytes]:
    """A variant under the label of another."""
    return N1[0].replace(V82, label), N1[1]


def with_other_document() -> tuple[str, bytes]:
    passport = {**make_passport(target="neoverse-n1"), "variant": {"label": V82, "of": "5" * 64}}
    name = (
        f"demo-1.0+generic-1_{passport['digests']['wheel'][:8]}-cp311-cp311-manylinux_2_28_aarch64-{V82}.whl"
    )
    files = {"demo-1.0+generic.dist-info/variant.json": document([V84])}
    data = make_wheel(name.replace(f"-{V82}", ""), passport=passport, files=files)
    return name, data


@pytest.mark.parametrize(
    ("wheel", "reason"),
    [
        (renamed(V84), "variant.json is not the document of the label armv8.4a"),
        (renamed(V84), "passport: the file name has the label 'armv8.4a', and the passport 'armv8.2a'"),
        (renamed("armv9a"), "'armv9a' is no label of this index"),
        (with_other_document(), "variant.json is not the document of the label armv8.2a"),
        ((N1[0].replace(f"-{V82}", ""), N1[1]), "the file name has the label ''"),
        (
            variant_wheel(V82, passport={"default_backend": False, "backend": "acl"}),
            "is a variant, which has the recipe's default backend alone",
        ),
        (
            (PLAIN[0].replace(".whl", f"-{V82}.whl"), PLAIN[1]),
            "demo-1.0+generic.dist-info/variant.json is missing",
        ),
    ],
)
def test_a_variant_that_is_not_what_its_name_says(
    client: Client, wheel: tuple[str, bytes], reason: str
) -> None:
    refused = client.upload(*wheel)
    assert refused.status_code == 400
    assert reason in refused.text


def test_a_session_takes_variants_and_people_see_the_page(client: Client) -> None:
    client.publish(PLAIN, N1)
    assert N1[0] in client.get(f"/staging/{SESSION}/simple/demo/", accept="text/html").text
    for path in ("/nightly/variants/", "/nightly/variants/demo/"):
        page = client.get(path, accept="text/html")
        assert page.status_code == 200
        assert "uv pip install --preview-features wheel-variants" in page.text
    assert f"neoverse-n1, as {V82}" in page.text
    assert "poetry lock" not in page.text
    assert "pdm lock" in page.text
    assert "pylock.toml" not in page.text, "there is no lock file of variants"
    assert client.get("/nightly/variants/simple/Demo").headers["location"] == "demo/"
