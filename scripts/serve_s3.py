"""Serve the index from an S3 server on loopback: SeaweedFS.

    make serve STORE=s3
    . var/seaweedfs/environment     # in another shell: variables with which commands use the same store
    .venv/bin/armwheels-index token --name me

SeaweedFS stores the objects in ``ARMWHEELS_HOME/seaweedfs``.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from scripts.seaweed import Seaweed


def main() -> int:
    """Start SeaweedFS and serve the index from it until interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end in order, as by Ctrl-C
    home = Path(os.environ.get("ARMWHEELS_HOME") or "var").resolve()
    store = Seaweed(home / "seaweedfs")
    store.start()
    variables = {**store.environment(), "ARMWHEELS_HOME": str(home)}
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    place = home / "seaweedfs" / "environment"
    place.write_text("".join(lines))
    print(f"SeaweedFS keeps the objects. In another shell, for armwheels-index token and others: . {place}")
    sys.stdout.flush()
    index = Path(sys.executable).parent / "armwheels-index"
    with subprocess.Popen([index, "serve", *sys.argv[1:]], env={**os.environ, **variables}) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()
            server.wait(30)
            return 130
        finally:
            store.stop()


if __name__ == "__main__":
    sys.exit(main())
