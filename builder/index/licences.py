"""The rule that a licensed library is never published: each command that publishes asks it before anything is sent.

The index server refuses such wheels, too: it reads the same key of the passport.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.errors import ConfigError
from builder.model.recipe import Recipe


def licensed_library(passport: Mapping[str, Any], recipes: Mapping[str, Recipe]) -> str | None:
    """The variable that names the licensed library in a wheel, by its passport or by the recipe that it names.

    A wheel of another machine is recognised by its passport, even where the recipe is unknown or has changed.
    """
    recipe = recipes.get(passport["recipe"])
    backend = recipe.backends.get(passport["backend"]) if recipe is not None else None
    return passport.get("licensed") or (backend.licensed if backend is not None else None)


def refuse_licensed(libraries: Mapping[str, str | None]) -> None:
    """Refuse builds or wheels, given by name, that hold a licensed library.

    Raises:
        ConfigError: with the name of each.
    """
    if licensed := [name for name, library in libraries.items() if library is not None]:
        raise ConfigError(
            f"{', '.join(licensed)} may not be published: it holds a library that is licensed to its user alone. "
            "`armwheels build` makes it for this machine"
        )
