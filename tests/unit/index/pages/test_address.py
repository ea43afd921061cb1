"""The address of the index behind proxies, and references that hold below any path."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from index_server.api.app import create_app
from index_server.pages.address import Proxies, is_prefix, networks, relative, up
from index_server.pages.negotiation import JSON
from index_server.settings import Settings
from index_server.store.interface import ObjectStore
from tests.helpers.wheels import make_wheel
from tests.unit.index.api.test_app import PURE, Client

FORWARDED = {
    b"x-forwarded-proto": "https",
    b"x-forwarded-host": "wheels.example",
    b"x-forwarded-prefix": "/wheels/",
}


def base(client: str | None, headers: dict[bytes, str], proxies: Proxies = Proxies()) -> str:  # noqa: B008  # frozen
    scope = {"scheme": "http", "client": (client, 1) if client else None, "server": ("10.0.0.1", 8080)}
    return proxies.base(scope, {b"host": "index.internal:80", **headers})


def test_a_trusted_proxy_says_how_it_was_reached() -> None:
    assert base("127.0.0.1", FORWARDED) == "https://wheels.example/wheels"
    assert base("::1", FORWARDED) == "https://wheels.example/wheels"
    assert base("::ffff:127.0.0.1", FORWARDED) == "https://wheels.example/wheels"
    assert (
        base("10.1.2.3", FORWARDED, Proxies(trusted=networks("10.0.0.0/8, ::1")))
        == "https://wheels.example/wheels"
    )
    assert base("10.1.2.3", FORWARDED, Proxies(trusted=networks("*"))) == "https://wheels.example/wheels"
    assert base("127.0.0.1", {b"x-forwarded-proto": "https, http"}) == "https://index.internal:80"


@pytest.mark.parametrize("client", ["10.1.2.3", "127.0.0.2", None, "unix", ""])
def test_nobody_else_is_believed(client: str | None) -> None:
    assert base(client, FORWARDED) == "http://index.internal:80"
    assert base(client, FORWARDED, Proxies("/below")) == "http://index.internal:80/below"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-forwarded-proto", "javascript"),
        (b"x-forwarded-prefix", "//elsewhere.example"),
        (b"x-forwarded-prefix", '/"><script>'),
        (b"x-forwarded-prefix", "/a/../b"),
        (b"x-forwarded-prefix", "elsewhere"),
        (b"x-forwarded-prefix", "/"),
        (b"x-forwarded-host", ""),
    ],
)
def test_nonsense_is_not_believed(name: bytes, value: str) -> None:
    assert base("127.0.0.1", {name: value}) == "http://index.internal:80"


def test_a_host_that_is_none_is_the_servers_own() -> None:
    assert base("127.0.0.1", {b"x-forwarded-host": "a/b"}) == "http://10.0.0.1:8080"
    assert base(None, {b"host": "a b"}) == "http://10.0.0.1:8080"


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy.example", "1.2.3"])
def test_networks_are_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=text.split("/")[0].split(",")[0]):
        networks(text)


PARTS = st.text(
    st.characters(codec="ascii", categories=("L", "N"), include_characters="-_.+:~"), min_size=1
).filter(lambda part: part not in (".", ".."))
PATHS = st.lists(PARTS, max_size=5).map(lambda parts: "/" + "/".join(parts))


@given(path=PATHS, slash=st.booleans(), target=PATHS, prefix=st.sampled_from(["", "/wheels", "/a/b"]))
def test_references_hold_below_any_prefix(path: str, slash: bool, target: str, prefix: str) -> None:
    path += "/" if slash and path != "/" else ""
    target += "/" if target != "/" else ""
    site = f"http://host{prefix}"
    assert urljoin(site + path, relative(path, target)) == site + target
    assert urljoin(site + path, up(path)) == site + "/"


@pytest.mark.parametrize("text", ["", "/wheels", "/a/b.c"])
def test_prefixes(text: str) -> None:
    assert is_prefix(text)
    assert not is_prefix(f"{text}/")


@pytest.mark.parametrize("stripped", [True, False])
def test_a_root_path(make_store: Callable[[str], ObjectStore], settings: Settings, stripped: bool) -> None:
    """Whether the proxy takes the path off or not, every page leads to a file below it."""
    store = make_store("memory")
    Client(store, settings).publish((PURE, make_wheel(PURE)))
    http = TestClient(create_app(store, settings, proxies=Proxies("/wheels")), follow_redirects=False)

    def get(address: str, **headers: str) -> tuple[int, str, str]:
        path = address.removeprefix("http://testserver")
        assert path.startswith("/wheels")
        answer = http.get(path.removeprefix("/wheels") if stripped else path, headers=headers)
        return answer.status_code, answer.text, urljoin(address, answer.headers.get("location", ""))

    site = "http://testserver/wheels"
    assert f"--index-url {site}/nightly/" in get(f"{site}/")[1]
    assert get(f"{site}/nightly/armv8-a/simple/Pure_Thing")[::2] == (
        307,
        f"{site}/nightly/generic/simple/pure-thing/",
    )
    page = f"{site}/nightly/generic/simple/pure-thing/"
    file = http.get(page.removeprefix("http://testserver"), headers={"Accept": JSON}).json()["files"][0][
        "url"
    ]
    assert get(urljoin(page, file))[0] == 200
    assert get(f"{site}/api/channels")[0] == 200
    if not stripped:
        assert get(site)[::2] == (308, f"{site}/")
        assert http.get("/wheelsmore/").status_code == 404
