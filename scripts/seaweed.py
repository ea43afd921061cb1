"""Runs SeaweedFS, from its wheel, as an S3 server on loopback, for experiments and tests.

Its keys are not secret, since only this machine can connect to it.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEYS = {
    "AWS_ACCESS_KEY_ID": "armwheels",
    "AWS_SECRET_ACCESS_KEY": "armwheels-on-loopback",
    "AWS_DEFAULT_REGION": "us-east-1",
}
BUCKET = "armwheels"
PARTS = ("master", "volume", "filer", "s3", "admin")


class Seaweed:
    """A SeaweedFS server with its own folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._ports = dict(zip(PARTS, free_ports(len(PARTS)), strict=True))
        self.endpoint = f"http://127.0.0.1:{self._ports['s3']}"
        self._process: subprocess.Popen[bytes] | None = None

    def environment(self, prefix: str = "") -> dict[str, str]:
        """The environment variables with which ``armwheels-index`` uses this server."""
        return {**KEYS, "ARMWHEELS_STORE": f"s3://{BUCKET}/{prefix}", "ARMWHEELS_S3_ENDPOINT": self.endpoint}

    def start(self) -> None:
        """Start the server and wait until objects can be written."""
        ports = [f"-{part}.port={port}" for part, port in self._ports.items()]
        # Its sockets are relative to its folder: by default they stay in /tmp, where another user's stops it.
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [Path(sys.executable).parent / "weed", "mini", f"-dir={self._folder}", "-ip=127.0.0.1",
                 "-ip.bind=127.0.0.1", *ports, "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0",
                 "-s3.port.lance=0", "-s3.localSocket=s3.sock", "-filer.localSocket=filer.sock"],
                env={**os.environ, **KEYS}, cwd=self._folder, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "log").read_text()[-3000:])
            time.sleep(0.1)

    @property
    def pid(self) -> int:
        """The id of the running process; 0 if there is none."""
        return self._process.pid if self._process is not None else 0

    def kill(self) -> None:
        """Kill the server, as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(30)

    def stop(self) -> None:
        """Terminate the server, and kill it if that takes more than 20 seconds."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def client(self, attempts: int = 4) -> S3Client:
        return s3_client(
            attempts,
            endpoint_url=self.endpoint,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )

    def _answers(self) -> bool:
        try:
            client = self.client(attempts=1)
            if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
        except (BotoCoreError, ClientError):
            return False
        return True


def s3_client(attempts: int = 4, **place: str) -> S3Client:
    """Return a client like the store's. botocore's description of S3, which loads in 0.5 s, is loaded once."""
    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts}, connect_timeout=2, read_timeout=10
    )
    return _session().client("s3", region_name=KEYS["AWS_DEFAULT_REGION"], config=config, **place)


@lru_cache
def _session() -> boto3.session.Session:
    return boto3.session.Session()


def free_ports(count: int) -> list[int]:
    """Return free ports. The ports 10,000 above, which SeaweedFS uses for gRPC, are free, too."""
    found: list[int] = []
    while len(found) < count:
        port = 20000 + secrets.randbelow(10000)
        if port not in found and is_free(port) and is_free(port + 10000):
            found.append(port)
    return found


def is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
