"""The commands ``tuf`` of ``armwheels-index``: keys, ceremonies, and the signing of what the index shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from securesystemslib.signer import Key

from index_server.catalog.catalog import Catalog
from index_server.errors import ConfigError, NotSignedError
from index_server.settings import load_settings, tuf_keys
from index_server.store.address import open_store
from index_server.trust import ceremony
from index_server.trust.keys import held_elsewhere, new_key, open_signer, read_public
from index_server.trust.repository import Repository

out = Console(emoji=False)
tuf = typer.Typer(
    no_args_is_help=True,
    help="Sign what the index shows (TUF), so that clients refuse a store or a mirror that was tampered with.",
)
FolderOption = Annotated[Path, typer.Option("--folder", help="Folder with the documents that people sign.")]
RootOption = Annotated[
    list[Path] | None, typer.Option("--root", help="Key file of a person who signs the root. Repeatable.")
]
ThresholdOption = Annotated[
    int | None,
    typer.Option("--threshold", min=1, help="How many of them must sign. Default: as before, else 1."),
]
TargetsOption = Annotated[
    Path | None, typer.Option("--targets", help="Key file of the person who signs channels and builders.")
]
OnlineOption = Annotated[
    list[Path] | None, typer.Option("--online", help="Key file of a server that signs moves. Repeatable.")
]
BuilderOption = Annotated[
    list[Path] | None,
    typer.Option("--builder", help="Key file of a builder to believe from now on. Repeatable."),
]
RequireOption = Annotated[
    list[str] | None,
    typer.Option("--require", help="Statement that each tuned wheel needs, such as audit. Repeatable."),
]


@tuf.command()
def key(
    path: Annotated[Path, typer.Argument(help="Key file to write, such as root-a.json.")],
    uri: Annotated[
        str | None,
        typer.Option(help="URI of a private key in a token or key service, such as hsm:2 or awskms:ID."),
    ] = None,
    public: Annotated[
        Path | None, typer.Option(help="With --uri: its public key, as a PEM file.", exists=True)
    ] = None,
) -> None:
    """Make a key: a file to share, and the private key beside it as .pem."""
    if (uri is None) != (public is None):
        raise ConfigError("--uri and --public belong together")
    made = new_key(path) if uri is None or public is None else held_elsewhere(path, uri, public)
    out.print(f"{made.keyid}  {path}", highlight=False, soft_wrap=True)


@tuf.command()
def init(
    folder: FolderOption,
    *,
    root: RootOption = None,
    threshold: ThresholdOption = None,
    targets: TargetsOption = None,
    online: OnlineOption = None,
    builder: BuilderOption = None,
    require: RequireOption = None,
) -> None:
    """Write the first root and targets, to be signed by people and then published."""
    catalog, repository = _open(signing=False)
    if repository.roots():
        raise ConfigError("the store has a root already; `tuf rotate` changes it")
    wishes = _wishes(root, threshold, targets, online, builder, require, catalog)
    made = ceremony.begin(folder, catalog.now(), wishes)
    made.write()
    _needed(made)


@tuf.command()
def rotate(
    folder: FolderOption,
    *,
    root: RootOption = None,
    threshold: ThresholdOption = None,
    targets: TargetsOption = None,
    online: OnlineOption = None,
    builder: BuilderOption = None,
    end_builder: Annotated[
        list[str] | None,
        typer.Option(
            help="Key id of a builder that is not believed for wheels of later uploads. Repeatable."
        ),
    ] = None,
    require: RequireOption = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Also write what does not change, so that it expires later.")
    ] = False,
) -> None:
    """Write the next root or targets: other keys, builders or channels. What is not named stays as it is."""
    catalog, repository = _open(signing=False)
    state = repository.state()
    if state is None:
        raise ConfigError("the store has no root yet; begin with `tuf init`")
    wishes = _wishes(root, threshold, targets, online, builder, require, catalog, end_builder, renew=renew)
    made = ceremony.change(folder, catalog.now(), wishes, repository, state)
    made.write()
    _needed(made)


@tuf.command()
def sign(
    folder: FolderOption,
    key_file: Annotated[Path, typer.Option("--key", help="Key file whose private key signs.", exists=True)],
) -> None:
    """Sign the documents in a folder. Needs no store, so that it can run on a machine without a network."""
    found = ceremony.read_folder(folder)
    signed = ceremony.sign(found, open_signer(key_file))
    found.write()
    out.print(f"signed: {', '.join(signed)}", highlight=False)
    _needed(found)


@tuf.command()
def publish(folder: FolderOption) -> None:
    """Store the documents of a folder that are signed by enough people, and sign all else by them."""
    _, repository = _open(signing=True)
    ceremony.publish(ceremony.read_folder(folder), repository)
    status()


@tuf.command()
def refresh() -> None:
    """Sign what has changed or expires soon. Servers do so by themselves if ARMWHEELS_TUF_KEYS names their key."""
    _, repository = _open(signing=True)
    out.print("signed" if repository.refresh() else "nothing to sign", highlight=False)


@tuf.command()
def status() -> None:
    """Print each role with its version, its expiry and its keys. The exit code is 9 if a document has expired."""
    catalog, repository = _open(signing=False)
    state = repository.state()
    if state is None:
        out.print("nothing is signed; begin with `armwheels-index tuf init`", highlight=False)
        return
    now, expired = catalog.now(), []
    for role, document in state.documents:
        delegator = state.root.signed if role in state.root.signed.roles else state.targets.signed
        held = delegator.get_delegated_role(role) if _delegates(delegator, role) else None
        keys = (
            f"{held.threshold} of {', '.join(each[:8] for each in held.keyids)}"
            if held
            else "no keys any more"
        )
        out.print(
            f"{role:18} {document.version:>6}  until {document.expires:%Y-%m-%d %H:%M}  {keys}",
            highlight=False,
            soft_wrap=True,
        )
        if document.is_expired(now):
            expired.append(role)
    policy = repository.policy(state.targets.signed)
    for keyid, each in policy.builders.items():
        out.print(f"builder {keyid[:8]}  since {each.since}  until {each.until or '-'}", highlight=False)
    out.print(f"needed of tuned wheels: {', '.join(policy.required) or 'nothing'}", highlight=False)
    if expired:
        raise NotSignedError(
            f"expired: {', '.join(expired)}; clients refuse everything until it is signed again"
        )


def _delegates(delegator: object, role: str) -> bool:
    roles = getattr(delegator, "roles", None) or getattr(
        getattr(delegator, "delegations", None), "roles", None
    )
    return role in (roles or {})


def _open(*, signing: bool) -> tuple[Catalog, Repository]:
    settings = load_settings()
    catalog = Catalog(open_store(settings.store), settings.channels)
    paths = tuf_keys() if signing else ()
    if signing and not paths:
        raise ConfigError("ARMWHEELS_TUF_KEYS names no key file; the online key signs what the server shows")
    return catalog, Repository(catalog, [open_signer(path) for path in paths])


def _wishes(
    root: list[Path] | None,
    threshold: int | None,
    targets: Path | None,
    online: list[Path] | None,
    builder: list[Path] | None,
    require: list[str] | None,
    catalog: Catalog,
    ended: list[str] | None = None,
    *,
    renew: bool = False,
) -> ceremony.Wishes:
    def public(paths: list[Path] | None) -> list[Key]:
        return [read_public(path) for path in paths or ()]

    return ceremony.Wishes(
        roots=public(root),
        threshold=threshold,
        targets=read_public(targets) if targets else None,
        online=public(online),
        builders=public(builder),
        ended=ended or (),
        required=require,
        channels=tuple(catalog.channels),
        renew=renew,
    )


def _needed(folder: ceremony.Folder) -> None:
    missing = folder.needed()
    for line in missing:
        out.print(f"missing: {line}", highlight=False, soft_wrap=True)
    if not missing:
        out.print("signed by enough; now run `armwheels-index tuf publish`", highlight=False)
