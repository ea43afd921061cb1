"""Makes the application of one server process from the environment."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import wait
from threading import Thread

from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from index_server.api.app import create_app
from index_server.errors import ConfigError, StoreError
from index_server.limits import load_limits
from index_server.pages.address import Proxies, is_prefix, networks
from index_server.policy import load_policy
from index_server.settings import FORWARDED_ALLOW_IPS, ROOT_PATH, load_settings, tuf_keys
from index_server.store.address import open_store
from index_server.store.interface import ObjectStore
from index_server.trust.keys import open_signer

_log = logging.getLogger(__name__)
MAKE_APPLICATION = "index_server.serving.application:make_application"  # for uvicorn


def make_application() -> ASGIApp:
    """Make the application. The parent process made it as well, so that faults are reported once, before the start.

    A server process ends if the environment became faulty in the meantime.
    """
    _end_with_parent()
    try:
        return from_environment()
    except (ConfigError, StoreError) as error:
        _log.error("a server process cannot start: %s", error)
        sys.exit(STARTUP_FAILURE)


def from_environment(store: ObjectStore | None = None) -> ASGIApp:
    """Make the application that the environment and the configuration describe, over ``store`` if it is open.

    Raises:
        ConfigError: a setting is not valid.
        StoreError: the store cannot be used.
    """
    settings = load_settings()
    opened = open_store(settings.store) if store is None else store
    signers = [open_signer(path) for path in tuf_keys()]
    return create_app(opened, settings, load_policy(), load_limits(), load_proxies(), signers)


def load_proxies() -> Proxies:
    """Read which proxies are trusted, and below which path they serve the index.

    Raises:
        ConfigError: a value is not valid.
    """
    root_path, trusted = ROOT_PATH.value(), FORWARDED_ALLOW_IPS.value()
    path = (root_path or "").rstrip("/")
    if not is_prefix(path):
        raise ConfigError(f"the root path {root_path!r} is not valid; write a path such as /wheels")
    try:
        return Proxies(path, networks(trusted)) if trusted else Proxies(path)
    except ValueError as error:
        message = f"{FORWARDED_ALLOW_IPS.name} or --forwarded-allow-ips: {error}"
        raise ConfigError(f"{message}; write 10.0.0.5 or 10.0.0.0/8") from error


def _end_with_parent() -> None:
    """Stop this process when the process that started it was killed: nobody else would."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=watch, name="parent", daemon=True).start()
