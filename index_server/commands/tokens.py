"""The commands ``token``, ``tokens`` and ``revoke`` of ``armwheels-index``."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from index_server.access import tokens as access
from index_server.errors import ConfigError
from index_server.names import no_channel
from index_server.settings import load_settings, store_address
from index_server.store.address import open_store

out = Console(emoji=False)
err = Console(stderr=True, emoji=False)


def token(
    name: Annotated[str, typer.Option(help="Name of the token's user, recorded in the journal.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"Permission: {access.SCOPES}; names may contain *. Repeatable."),
    ] = None,
    expires_days: Annotated[int | None, typer.Option(min=0, help="Days until the token expires.")] = None,
) -> None:
    """Create an access token and print it.

    The index stores only a hash of the token, so it cannot print the token again.

    Without --scope, the token has the scopes that publishing needs: upload:*, evidence, move:*.

    Uploads that name no session go into the token's own session. POST /api/snapshots without a session, with the
    same token, makes a snapshot of it.
    """
    _check_channels(scope or [])
    store = open_store(store_address())
    typer.echo(access.make_token(store, name, expires_days, scope))
    err.print(
        "Store the token now: it is not shown again. For twine: TWINE_USERNAME=__token__ TWINE_PASSWORD=THE_TOKEN\n"
        "After the upload, `armwheels snapshot` with the same token publishes the files.",
        highlight=False,
        soft_wrap=True,
    )


def _check_channels(scopes: Sequence[str]) -> None:
    """Check that each scope ``move:CHANNEL`` allows a move of a channel that there is.

    Raises:
        ConfigError: one allows none; the message names all of them.
    """
    asked = [scope.partition(":")[2] for scope in access.check_scopes(scopes) if scope.startswith("move:")]
    if not asked:
        return
    channels = load_settings().channels
    strange = [name for name in asked if not any(fnmatchcase(channel, name) for channel in channels)]
    if strange:
        raise ConfigError("\n".join(f"--scope move:{name}: {no_channel(name, channels)}" for name in strange))


def tokens() -> None:
    """List the tokens with their names, scopes, expiry dates and states."""
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "name", "scopes", "made", "expires", "state"):
        table.add_column(heading, overflow="fold")
    for each in access.list_tokens(open_store(store_address())):
        table.add_row(
            each.id,
            escape(each.name),
            " ".join(each.scopes),
            each.token.created_at[:10] if each.token else "",
            (each.token.expires_at or "never")[:10] if each.token else "",
            each.state,
        )
    out.print(table, highlight=False)


def revoke(
    name_or_id: Annotated[
        str, typer.Argument(metavar="NAME-or-ID", help="Name or id, as `tokens` lists it.")
    ],
) -> None:
    """Revoke the token with an id, or all tokens with a name. This cannot be undone."""
    revoked = access.revoke_tokens(open_store(store_address()), name_or_id)
    for each in revoked:
        out.print(f"revoked {each.id} {escape(each.name)}", highlight=False)
    if not revoked:
        out.print("nothing to do: already revoked or expired", highlight=False)
