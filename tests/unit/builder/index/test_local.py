"""An index on loopback that does not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import ArmwheelsError, ConfigError, PublishError
from builder.index import local


@pytest.mark.parametrize(("code", "error"), [(3, ConfigError), (4, PublishError)])
@pytest.mark.parametrize("command", ["token", "serve"])
def test_faults_of_configs_keep_their_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, code: int, error: type[ArmwheelsError]
) -> None:
    program = tmp_path / "armwheels-index"
    program.write_text(
        f'#!/bin/sh\nif [ "$1" = {command} ]; then echo "stable.gate: unknown key" >&2; exit {code}; fi\n'
        "echo awt_x\n"
    )
    program.chmod(0o755)
    monkeypatch.delenv("ARMWHEELS_INDEX", raising=False)
    monkeypatch.setattr(local, "index_program", lambda: str(program))
    with pytest.raises(error, match=r"stable\.gate: unknown key") as caught, local.open_index(tmp_path):
        pass
    assert type(caught.value) is error
