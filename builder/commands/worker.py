"""The command ``armwheels worker``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from builder.commands.build import stoppable
from builder.commands.project import Project
from builder.commands.terminal import out
from builder.compile.processes import ended_with_this_process
from builder.errors import ConfigError
from builder.index.client import Index
from builder.index.keys import builder_key, signing_line
from builder.settings import index_url, temporal_address, variable


def worker(
    listed: Annotated[
        bool, typer.Option("--list", help="Print the workers of the cluster, and end.")
    ] = False,
) -> None:
    """Build for the nights of a cluster until Ctrl-C or SIGTERM; what is unfinished then goes to other workers.

    `ARMWHEELS_TEMPORAL` names the cluster, `ARMWHEELS_INDEX` and `ARMWHEELS_TOKEN` the index. All workers need the
    same configuration. With `ARMWHEELS_SHARED_CACHE=on` they share what they compile.

    Example: ARMWHEELS_TEMPORAL=127.0.0.1:7233 ARMWHEELS_INDEX=http://127.0.0.1:8080 armwheels worker
    """
    address, url = temporal_address(), index_url()
    if address is None:
        raise ConfigError("set ARMWHEELS_TEMPORAL to the HOST:PORT of the cluster, such as 127.0.0.1:7233")
    from builder.fleet.run import workers_of

    if listed:
        for line in workers_of(address):
            out.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    if url is None:
        raise ConfigError("set ARMWHEELS_INDEX to the URL of the index that the workers share")
    from builder.fleet.host import examine
    from builder.fleet.run import serve

    with stoppable(), ended_with_this_process(), ExitStack() as stack:
        project, signer = Project(), builder_key()
        index = stack.enter_context(Index(url, variable("ARMWHEELS_TOKEN")))
        host = examine(project.toolbox)
        stack.enter_context(project.live())

        def ready() -> None:
            out.print(f"worker {host}", highlight=False, markup=False, soft_wrap=True)
            out.print(signing_line(signer), highlight=False, soft_wrap=True)

        serve(address, project, index, str(host), project.live.for_build, ready, signer)
