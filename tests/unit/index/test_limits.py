"""Limits of the HTTP server from the environment."""

from __future__ import annotations

import resource

import pytest

from index_server.errors import ConfigError
from index_server.limits import SPARE, Limits, load_limits


def test_defaults() -> None:
    assert load_limits() == Limits()
    assert Limits().keep_alive > 120  # Caddy's pool
    assert Limits().header_bytes < 1 << 20


def test_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMWHEELS_KEEP_ALIVE", "7.5")
    monkeypatch.setenv("ARMWHEELS_MAX_CONNECTIONS", "12")
    assert load_limits() == Limits(keep_alive=7.5, connections=12)


def test_all_faults_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMWHEELS_KEEP_ALIVE", "long")
    monkeypatch.setenv("ARMWHEELS_MAX_HEADERS", "1.5")
    monkeypatch.setenv("ARMWHEELS_MAX_CONNECTIONS", "0")
    monkeypatch.setenv("ARMWHEELS_BODY_TIMEOUT", "nan")
    with pytest.raises(ConfigError) as refused:
        load_limits()
    assert [line.split(" ")[0] for line in str(refused.value).splitlines()] == [
        "ARMWHEELS_MAX_CONNECTIONS",
        "ARMWHEELS_MAX_HEADERS",
        "ARMWHEELS_KEEP_ALIVE",
        "ARMWHEELS_BODY_TIMEOUT",
    ]


@pytest.mark.parametrize("descriptors", [32, 256, 1024])
def test_connections_leave_descriptors(monkeypatch: pytest.MonkeyPatch, descriptors: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    monkeypatch.setenv("ARMWHEELS_MAX_CONNECTIONS", "100000")
    left = descriptors - load_limits().connections - SPARE
    assert left >= min(128, descriptors // 2 - 1)
