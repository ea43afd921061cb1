"""Generate docs/reference from the code. `make docs` runs this script.

    .venv/bin/python -m scripts.reference            # write the pages
    .venv/bin/python -m scripts.reference --check    # write nothing; exit code 1 if a page differs

The builder and the index server must not import each other, so this script belongs to neither.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import re
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import armwheels_verify.cli
import httpx2
import typer

import builder.audit_cli
import builder.cli
import builder.settings
import index_server.cli
import index_server.settings
from builder.audit.schema import DATA, report_schema
from builder.commands.terminal import INTERNAL
from builder.errors import (
    ArmwheelsError,
    AuditError,
    ConfigError,
    DiskError,
    StoppedError,
    ToolboxError,
)
from builder.model.channel import Channel
from builder.model.matrix import Matrix
from builder.model.recipe import RecipeFile
from builder.model.server import ServerTable
from builder.model.target import TargetTable
from builder.model.toolchains import Toolchains
from index_server import model as stored
from index_server.api.app import create_app
from index_server.errors import IndexServerError, RequestError
from index_server.settings import load_settings
from index_server.store.folder import DirectoryStore
from scripts.reference_markdown import Keys, link, markdown, object_section, page, summary, table

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs/reference"
AUDIT_SCHEMA = ROOT / "configs/audit-report.schema.json"


# Configuration files


def recipes() -> str:
    keys = Keys(RecipeFile)
    return page("Recipes", "`configs/recipes/NAME.toml`, one file for each recipe.", keys.text)


def matrices() -> str:
    return page(
        "Matrices", "`configs/matrices.toml`, one table for each matrix.", Keys(Matrix, "[NAME]").text
    )


def channels() -> str:
    return page(
        "Channels", "`configs/channels.toml`, one table for each channel.", Keys(Channel, "[NAME]").text
    )


def targets() -> str:
    return page(
        "Targets", "`configs/targets.toml`, one table for each CPU.", Keys(TargetTable, "[NAME]").text
    )


def servers() -> str:
    return page(
        "Servers", "`configs/servers.toml`, one table for each server.", Keys(ServerTable, "[NAME]").text
    )


def toolchains() -> str:
    return page("Toolchains", "`configs/toolchains.toml`.", Keys(Toolchains).text)


# Environment variables, exit codes and commands


def environment() -> str:
    tables = [
        table(
            ("variable", "default", "meaning"),
            [(f"`{each.name}`", each.default, each.meaning) for each in variables],
        )
        for variables in (builder.settings.VARIABLES, index_server.settings.VARIABLES)
    ]
    return page(
        "Environment variables",
        "An empty variable counts as not set.",
        "## armwheels",
        tables[0],
        "The `licensed` key of a recipe's backend may name further variables.",
        "## armwheels-index",
        tables[1],
    )


FAULT = "A fault of the program itself; the traceback is on standard error."
AUDIT_CODES = {
    0: "Every check passed, or did not apply.",
    1: "A check failed.",
    2: "The command line is wrong: an unknown option, a file that does not exist.",
    ConfigError.exit_code: "A target is unknown, a file of rules is wrong, or the SARIF file cannot be written.",
    ToolboxError.exit_code: "There is no `llvm-mc` of LLVM 19 or later.",
    AuditError.exit_code: "A wheel cannot be read, so that there is no verdict. The other wheels are judged.",
    DiskError.exit_code: "The disk is full.",
    INTERNAL: FAULT,
    StoppedError.exit_code: "Stopped by Ctrl-C.",
}


def subclasses(base: type[Exception]) -> Iterator[type[Exception]]:
    for each in base.__subclasses__():
        yield each
        yield from subclasses(each)


def exit_codes() -> str:
    meanings: dict[int, dict[str, str]] = defaultdict(dict)
    for command, base in (("armwheels", ArmwheelsError), ("armwheels-index", IndexServerError)):
        meanings[0][command] = "Success."
        meanings[2][command] = "The command line is wrong: an unknown option, a missing argument."
        for error in subclasses(base):
            if "exit_code" in vars(error):
                meanings[vars(error)["exit_code"]][command] = summary(error.__doc__)
    meanings[1]["armwheels"] = "A verdict against a wheel: an audit, a test or a build failed."
    meanings[INTERNAL]["armwheels"] = FAULT
    meanings[130]["armwheels-index"] = "Stopped by Ctrl-C."
    both = ("armwheels", "armwheels-index")
    rows = [(str(code), *(by.get(command, "") for command in both)) for code, by in sorted(meanings.items())]
    audits = [(str(code), meaning) for code, meaning in AUDIT_CODES.items()]
    return page(
        "Exit codes",
        table(("code", *(f"`{command}`" for command in both)), rows),
        "## Audits",
        "`armwheels audit` and `armwheels-audit` end with these. Of several wheels the highest counts.",
        table(("code", "meaning"), audits),
    )


def commands() -> str:
    parts = []
    alone: Any = typer.main.get_command(builder.audit_cli.make_app())
    for app in (builder.cli.make_app(), index_server.cli.make_app()):
        group = typer.main.get_group(app)
        parts.append(f"## {group.name}\n\n{_help(group.help, group.epilog)}")
        for name, command in _flat(group.commands):
            parts += [f"### {group.name} {name}", *_command(f"{group.name} {name}", command)]
    parts += [f"## {alone.name}", *_command(alone.name, alone), *_verify()]
    return page("Commands", *parts)


def _verify() -> list[str]:
    """The program that has no typer."""
    parser = armwheels_verify.cli.parser()
    rows = [
        (f"`{', '.join(action.option_strings) or action.metavar}`", action.help or "")
        for action in parser._actions  # argparse has no other list of them
    ]
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    return [
        f"## {parser.prog}",
        f"    {usage}",
        str(parser.description),
        table(("argument or option", "meaning"), rows),
    ]


def _command(name: str, command: Any) -> list[str]:
    context = typer.Context(command, info_name=name)
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = [(f"`{record[0]}`", record[1]) for record in records if record]
    return [
        "    " + context.get_usage().removeprefix("Usage: "),
        _help(command.help, command.epilog),
        table(("argument or option", "meaning"), rows) if rows else "",
    ]


def _flat(commands: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Commands by name; those of a group have its name before theirs."""
    for name, command in commands.items():
        if below := getattr(command, "commands", None):
            yield from _flat(below, f"{before}{name} ")
        else:
            yield before + name, command


def _help(*texts: str | None) -> str:
    text = markdown("\n\n".join(filter(None, texts)))
    return re.sub(r"\[/?bold\]|\[/\]", "`", re.sub(r"^ +", "", text, flags=re.MULTILINE))


# Reports of audits


def audit_report() -> str:
    definitions = report_schema()["$defs"]
    sections = {name: definitions[name] for name in ("Verdict", "PlaceData", "DeathData")}
    sections |= {model.__name__: definitions[model.__name__] for model in DATA.values()}
    return page(
        "Audit report",
        "What `armwheels audit --json` and `armwheels-audit --json` print. JSON Schema: "
        "`configs/audit-report.schema.json`.",
        object_section("Report", report_schema()),
        table(
            ("check", "its `data`"),
            [(f"`{check}`", link(model.__name__, model.__name__)) for check, model in DATA.items()],
        ),
        *(object_section(name, section) for name, section in sections.items()),
    )


def audit_schema() -> str:
    return json.dumps(report_schema(), indent=2) + "\n"


# HTTP and the store

PAGES = (
    ("/", "the channels, their snapshots, and the commands to copy; for people"),
    ("/{channel}/", "where a channel points, its gates and moves; for people"),
    ("/{channel}/feed.atom", "its moves as a feed (RFC 4287)"),
    ("/{channel}/{target}/", "the projects that one target sees; for people"),
    ("/{channel}/{target}/{project}/", "a project's wheels, and lines to copy; for people"),
    ("/snapshots/", "all snapshots; for people"),
    ("/snapshots/{id}/", "one snapshot; for people"),
    ("/snapshots/{id}/changes/{other}/", "what a snapshot has that another has not; for people"),
    ("/search/?q=TEXT", "projects by part of their names; for people"),
    ("/cpu/?text=TEXT", "the target of a CPU, by what /proc/cpuinfo or lscpu prints; for people"),
    ("/{channel}/{target}/simple/", "the index of a channel for one target (PEP 503, PEP 691)"),
    ("/{channel}/{target}/simple/{project}/", "the files of a project"),
    ("/{channel}/{target}+{backend}/simple/…", "the same; wheels of that backend come first"),
    ("/snapshots/{id}/{target}/simple/…", "the index of one snapshot, which never changes"),
    (
        "/{channel}/variants/simple/…",
        "the plain wheels with wheel variants beside them (PEP 825), if `ARMWHEELS_VARIANTS` is `on`; "
        "also below `/snapshots/{id}/`",
    ),
    (
        "/snapshots/{id}/variants/{project}/{name}-{version}-variants.json",
        "the labels of a version's variants, and what each needs; it never changes",
    ),
    (
        "/snapshots/{id}/{target}/pylock.toml?project=NAME&python=3.13",
        "a lock file (PEP 751) of projects and all that they require; `project` may be repeated, and may be a "
        "requirement such as `numpy>=2`. 409: the snapshot does not have what they need",
    ),
    ("/staging/{session}/simple/…", "what an upload session holds"),
    ("/files/{sha256}/{filename}", "a wheel; ranges and conditions (RFC 9110)"),
    ("/files/{sha256}/{filename}.metadata", "its METADATA (PEP 658, PEP 714)"),
    (
        "/integrity/{project}/{version}/{filename}/provenance",
        "the attestations that came with a wheel (PEP 740), as PyPI's Integrity API gives them",
    ),
    ("/tuf/timestamp.json", "the signed metadata (TUF) begins here; made anew when a channel has moved"),
    ("/tuf/{version}.{role}.json", "a signed document: root, targets, snapshot, status, channel-CHANNEL"),
    ("/tuf/targets/…", "the policy, and the last entries of journals, by their hashes"),
    (
        "/tuf/journal/{channel}/{from}-{to}",
        "entries of a journal as they are stored, a line each; also `status`",
    ),
    ("/tuf/snapshots/{id}.json, /tuf/shards/{sha256}.json", "a snapshot, and a project's part of it"),
    ("/openapi.json", "the OpenAPI document of the routes below"),
)

ACCESS = """\
Reads need no token, unless the server runs with `ARMWHEELS_READS=token`. Every request that writes needs one, as
`Authorization: Bearer TOKEN` or as the password of the user `__token__` (Basic). A token has scopes:

| scope | allows |
| --- | --- |
| `upload:PROJECT` | uploading files of a project; with any project, making snapshots and discarding sessions |
| `evidence` | adding evidence, reports of nights, and logs |
| `move:CHANNEL` | moving a channel, and approving for it |
| `lease` | taking and ending leases |
| `yank` | yanks and quarantines |
| `cache` | reading and writing the compile cache |
| `read` | reading, and nothing else |
| `metrics` | reading `/metrics` |
| `admin` | everything |

`PROJECT` and `CHANNEL` may hold `*` and `?`. A token made without a scope has `upload:*`, `evidence`, `move:*`."""

REFUSALS = """\
`/upload/` refuses in plain text, one reason a line, since twine and uv print the answer. Every other refusal is a
problem document (RFC 9457) with a member `reasons`, a list of all reasons."""

LAYOUT: tuple[tuple[str, type[stored.Stored] | str], ...] = (
    ("files/{sha256}/{filename}", "A wheel."),
    ("files/{sha256}/{filename}.metadata", "Its METADATA."),
    (
        "files/{sha256}/again-{n}/{filename}",
        "The same wheel, uploaded again after it was collected; also `.metadata`.",
    ),
    ("records/{project}/{filename}.json", stored.Record),
    (
        "attestations/{sha256}.json",
        "A provenance object (PEP 740), named by a record. Its key is the sha256 of its bytes.",
    ),
    ("builds/{wheel digest}/{project}.json", stored.FilePointer),
    ("sessions/{session}/files/{filename}.json", stored.SessionFile),
    ("sessions/{session}/requests/{sha256 of the idempotency key}.json", stored.SnapshotRequest),
    ("sessions/{session}/fate.json", stored.Fate),
    ("shards/{sha256}.json", stored.Shard),
    ("snapshots/{id}.json", stored.Snapshot),
    ("journal/{channel}/{serial}.json", stored.Move),
    ("journal/_status/{serial}.json", stored.StatusEntry),
    ("journal/_leases/{serial}.json", stored.LeaseEntry),
    ("journal/_collected/{serial}.json", stored.TombEntry),
    ("evidence/{sha256}/{kind}/{number}.json", stored.Evidence),
    (
        "verdicts/{project}/{sha256}.{kind}.{number}.{passed or failed}",
        "Whether that evidence passed; the sha256 of the evidence's bytes.",
    ),
    ("marked/{project}.{serial}", "That a project is the subject of an entry in `journal/_status/`; empty."),
    ("approvals/{channel}/{snapshot}/{token id}.json", stored.Approval),
    ("judgements/{sha256}.json", stored.Judgement),
    ("intents/{snapshot}/{random}.json", stored.Intent),
    (
        "tuf/{role}/{version}.json",
        "A signed document (TUF): `root`, `targets`, `snapshot`, `timestamp`, `status`, `channel-{channel}`.",
    ),
    ("tuf/policies/{sha256}.json", stored.TrustPolicy),
    ("tokens/{sha256 of the secret}.json", stored.Token),
    ("revocations/{sha256 of the secret}.json", stored.Revocation),
    ("channels/{journal}.json", stored.Hint),
    ("nights/{night}.json", "The report of a night, as the builder sent it."),
    (
        "logs/{build}/{night}/{milliseconds}-{attempt}-{stage}-{number}.txt",
        "A part of the log of a build; removed after `armwheels-index collect --logs-days`.",
    ),
    ("store.json", stored.StoreMark),
    (
        "cache/{first two characters}/{key}",
        "An object of the builders' compile cache; may be removed at any time.",
    ),
)


def openapi() -> dict[str, Any]:
    """Return the server's OpenAPI document."""

    async def ask(store: DirectoryStore) -> dict[str, Any]:
        transport = httpx2.ASGITransport(app=create_app(store, load_settings()))
        async with httpx2.AsyncClient(transport=transport, base_url="http://index") as client:
            document: dict[str, Any] = (await client.get("/openapi.json")).json()
            return document

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(ask(DirectoryStore(Path(folder))))


def http_api() -> str:
    document = openapi()
    routes = []
    bodies: dict[str, str] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            body = content.get("application/json", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
            if body:
                bodies[body] = object_section(body, document["components"]["schemas"][body])
            query = [
                f"`?{each['name']}=`" for each in operation.get("parameters", ()) if each["in"] == "query"
            ]
            sent = ", ".join([*([link(body, body)] if body else []), *query])
            routes.append((f"`{method.upper()} {path}`", sent, summary(operation.get("description"))))
    refusals: dict[str, list[str]] = defaultdict(list)
    for error in subclasses(RequestError):
        if "status" in vars(error):
            refusals[str(vars(error)["status"])].append(summary(error.__doc__))
    return page(
        "HTTP API",
        "## Pages and files",
        table(("path", "content"), [(f"`{path}`", content) for path, content in PAGES]),
        f"## Access\n\n{ACCESS}",
        "## Routes",
        table(("request", "sends", "effect"), routes),
        f"## Refusals\n\n{REFUSALS}",
        table(
            ("status", "meaning"),
            [(code, " Or: ".join(meanings)) for code, meanings in sorted(refusals.items())],
        ),
        "## Bodies",
        *bodies.values(),
    )


def store_layout() -> str:
    rows, sections = [], {}
    for key, content in LAYOUT:
        if isinstance(content, str):
            rows.append((f"`{key}`", "", content))
            continue
        schema = content.model_json_schema()
        rows.append((f"`{key}`", link(content.__name__, content.__name__), summary(content.__doc__)))
        for name, definition in {content.__name__: schema, **schema.get("$defs", {})}.items():
            sections[name] = object_section(name, definition)
    return page(
        "Store layout",
        "Objects are JSON with sorted keys. All but `channels/` and `cache/` are written once. Times are UTC, "
        "sizes are bytes.",
        table(("key", "object", "content"), rows),
        "## Objects",
        *sections.values(),
    )


# Modules


def modules() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = {
        contract["containers"][0]: contract["layers"]
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    }
    parts = [
        "Layers are listed from the top. A module imports only from layers below its own. Modules on one line that "
        "are separated by `|` do not import each other."
    ]
    for package in ("builder", "index_server"):
        paths = [
            path for path in sorted((ROOT / package).rglob("*.py")) if (path.parent / "__init__.py").is_file()
        ]
        rows = [
            (f"`{path.relative_to(ROOT)}`", summary(ast.get_docstring(ast.parse(path.read_text()))))
            for path in paths
        ]
        parts += [
            f"## {package}",
            "\n".join(f"    {layer}" for layer in layers[package]),
            table(("module", "content"), rows),
        ]
    return page("Modules", *parts)


def contents() -> str:
    names = [name for name in REFERENCE if name != "README.md"]
    return page("Reference", "\n".join(f"- [{name}]({name})" for name in names))


REFERENCE: Mapping[str, Callable[[], str]] = {
    "README.md": contents,
    "audit-report.md": audit_report,
    "channels.md": channels,
    "commands.md": commands,
    "environment.md": environment,
    "exit-codes.md": exit_codes,
    "http-api.md": http_api,
    "matrices.md": matrices,
    "modules.md": modules,
    "recipes.md": recipes,
    "servers.md": servers,
    "store-layout.md": store_layout,
    "targets.md": targets,
    "toolchains.md": toolchains,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page differs")
    check = parser.parse_args().check
    FOLDER.mkdir(parents=True, exist_ok=True)
    differing = []
    pages = {FOLDER / name: make for name, make in REFERENCE.items()}
    for path, make in {**pages, AUDIT_SCHEMA: audit_schema}.items():
        text = make()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            differing.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(text, encoding="utf-8")
    print("\n".join(differing) or "docs/reference is current")
    if check and differing:
        sys.exit(1)


if __name__ == "__main__":
    main()
