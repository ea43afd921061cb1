"""What ``armwheels-index serve`` prints when it is ready."""

from __future__ import annotations

import pytest

from index_server.catalog.catalog import Catalog
from index_server.commands.serve import _banner
from index_server.settings import Settings
from tests.helpers.stores import MemoryStore
from tests.helpers.wheels import make_wheel, tuned_wheel
from tests.unit.index.api.test_app import Client

NUMPY = ("numpy-1.0-py3-none-any.whl", make_wheel("numpy-1.0-py3-none-any.whl"))


@pytest.mark.parametrize(
    ("wheels", "example"),
    [
        ([], "PROJECT"),
        ([tuned_wheel()], "demo"),
        ([tuned_wheel(), NUMPY], "numpy"),
    ],
)
def test_the_install_lines_name_a_project_that_there_is(
    settings: Settings, capsys: pytest.CaptureFixture[str], wheels: list[tuple[str, bytes]], example: str
) -> None:
    store = MemoryStore()
    if wheels:
        Client(store, settings).publish(*wheels)
    _banner("http://127.0.0.1:8080", settings, store)
    printed = capsys.readouterr().out
    url = "http://127.0.0.1:8080/nightly/neoverse-v1/simple/"
    assert f"pip install --index-url {url} {example}\n" in printed
    assert f"uv pip install --default-index {url} {example}\n" in printed
    assert ("nightly has no wheels for neoverse-v1 yet." in printed) == (example == "PROJECT")


def test_a_damaged_store_is_served_all_the_same(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    store = MemoryStore()
    Client(store, settings).publish(NUMPY)
    store.objects["journal/nightly/1.json"] = b""
    assert Catalog(store, settings.channels).journal("nightly").serial == 1
    _banner("http://127.0.0.1:8080", settings, store)
    assert "Stop it with Ctrl-C." in capsys.readouterr().out
