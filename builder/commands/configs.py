"""The configuration as commands read it."""

from __future__ import annotations

from builder.commands.terminal import err
from builder.load import Configs, load_configs


def read_configs() -> Configs:
    """Read ``configs/``; a recipe with a fault is named on standard error and left out.

    Raises:
        ConfigError: any other file has a fault.
    """
    configs = load_configs(without_broken=True)
    for name, faults in configs.broken.items():
        text = f"warning: recipe {name} is left out: {faults}"
        err.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)
    return configs
