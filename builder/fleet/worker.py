"""A worker: what its host can do, and the task queues that it serves by that."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker

from builder.fleet.activities import Activities
from builder.fleet.build import BuildWorkflow
from builder.fleet.model import COMPILE, CONTROL
from builder.fleet.promotion import PromotionWorkflow
from builder.fleet.workflow import NightWorkflow
from builder.nightly import BUILDS_AT_ONCE, PROOFS_AT_ONCE

_REPORTS = timedelta(seconds=4)  # at most between two heartbeats that reach the server


def host_queue(home: Path) -> str:
    """The task queue of the host with this state folder. It stays the same when the worker is started again."""
    name = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()) or "host"
    return f"armwheels-{name}-{hashlib.sha256(str(home).encode()).hexdigest()[:8]}"


@asynccontextmanager
async def serving(client: Client, activities: Activities, host: str) -> AsyncIterator[None]:
    """Serve the task queues of this host until the block ends."""
    # A thread waits for the lock of a work folder while another has it; so there are more than stages at once.
    with ThreadPoolExecutor(max_workers=BUILDS_AT_ONCE + PROOFS_AT_ONCE + 8) as pool:

        def worker(queue: str, stages: Sequence[Callable[..., Any]], at_once: int) -> Worker:
            return Worker(
                client,
                task_queue=queue,
                activities=stages,
                workflows=[NightWorkflow, BuildWorkflow, PromotionWorkflow] if queue == CONTROL else [],
                activity_executor=pool,
                max_concurrent_activities=at_once,
                max_heartbeat_throttle_interval=_REPORTS,
                default_heartbeat_throttle_interval=_REPORTS,
            )

        workers = [
            worker(CONTROL, activities.control, 4),
            worker(host, activities.at_host, PROOFS_AT_ONCE),
            worker(f"{host}-proof", activities.proofs, PROOFS_AT_ONCE),
            worker(f"{host}-pulse", [activities.pulse], 1),
            worker(COMPILE, [activities.compile], BUILDS_AT_ONCE),
        ]
        async with AsyncExitStack() as stack:
            for one in workers:
                await stack.enter_async_context(one)
            yield
