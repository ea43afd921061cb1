"""The connection to Temporal: how values are written, and what the library may say."""

from __future__ import annotations

import asyncio
import os
import socket
import time

from temporalio.client import Client as Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from builder.errors import ConfigError, EngineError
from builder.fleet.engine import NAMESPACE

START_SECONDS = 60  # until a server must answer


async def connect(address: str, *, identity: str | None = None) -> Client:
    """A client of the server at ``HOST:PORT``, which lists it by its ``identity``.

    Raises:
        ConfigError: the address is none.
        EngineError: the server does not answer.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"ARMWHEELS_TEMPORAL is {address!r}; write HOST:PORT, such as 127.0.0.1:7233")
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return await Client.connect(
                address,
                namespace=NAMESPACE,
                data_converter=pydantic_data_converter,
                runtime=_runtime(),
                identity=identity or f"{socket.gethostname()}-{os.getpid()}",
            )
        except RuntimeError as error:
            if time.monotonic() > deadline:
                raise EngineError(f"Temporal at {address} does not answer: {error}") from error
            await asyncio.sleep(0.05)


_RUNTIME: list[Runtime] = []


def _runtime() -> Runtime:
    """The library's runtime, which logs nothing: what matters reaches the user as an error."""
    if not _RUNTIME:
        quiet = LoggingConfig(filter=TelemetryFilter(core_level="OFF", other_level="OFF"))
        _RUNTIME.append(Runtime(telemetry=TelemetryConfig(logging=quiet)))
    return _RUNTIME[0]
