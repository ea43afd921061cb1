"""What the data of each check holds, and the JSON Schema of reports, ``configs/audit-report.schema.json``.

The checks write plain dictionaries. The tests hold every report that they make against the models here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.json_schema import models_json_schema

from builder.audit.verdicts import AuditReport
from builder.model.base import Frozen

Address = Annotated[str, Field(pattern="^0x[0-9a-f]+$")]
Count = Annotated[int, Field(ge=0)]
Counts = dict[str, Count]
Lines = tuple[str, ...]


class Data(Frozen):
    """Base of the data of a check. A key that is absent has the default."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class RecordData(Data):
    """Data of ``record``."""

    unlisted: Lines = ()
    """Files that ``RECORD`` does not list."""
    missing: Lines = ()
    """Files that ``RECORD`` lists and the wheel does not have."""
    wrong: Lines = ()
    """Files with another hash or size than ``RECORD`` says, each with the fault."""


class MachineData(Data):
    """Data of ``machine``."""

    files: Count = 0
    """ELF files, with those in static archives."""
    shared: Count = 0
    """Shared libraries and programs among them."""
    faults: Lines = ()
    """The faults, one for each file."""


class TagData(Data):
    """Data of ``tag``."""

    filename: Lines = ()
    """Tags of the file name."""
    metadata: Lines = ()
    """Tags of ``WHEEL``."""


class SymbolsData(Data):
    """Data of ``symbols``."""

    needs: dict[str, str] = Field(default_factory=dict)
    """The newest symbol version of each family, such as ``GLIBC``."""
    proves: str | None = None
    """The lowest platform tag that these versions allow."""
    claims: str | None = None
    """The lowest platform tag of the file name."""


class LibrariesData(Data):
    """Data of ``libraries``."""

    policy: str | None = None
    """auditwheel's policy that was applied."""
    missing: Lines = ()
    """Libraries that are neither in the wheel nor allowed."""
    forbidden: Lines = ()
    """Libraries with symbols that the policy forbids."""


class PlaceData(Data):
    """Instructions of one extension in one function, which the target lacks."""

    rank: Literal["import", "called", "chosen", "unreached"]
    """When they run: at import, when called, only if a test of the CPU chose them, or by no branch at all."""
    member: str
    """Path of the ELF file in the wheel; in parentheses the object of a static archive."""
    function: str | None
    """Symbol of the function, or its address; null if no function covers them."""
    address: Address
    """Address of the first one in the ELF file."""
    extension: str
    """Extension of the architecture that has the instructions."""
    count: Annotated[int, Field(ge=1)]
    """How many there are."""
    caller: str | None
    """What leads to the function, as far as it is known."""
    library: str | None
    """Library of the file that tests the CPU for this extension, with its version, if that is known."""
    fails: bool
    """Whether the check fails for this place."""


class InstructionsData(Data):
    """Data of ``instructions``."""

    instructions: Count = 0
    """Words of code that were judged."""
    data_words: Count = 0
    """Words between the code that no CPU decodes."""
    allowed: Counts = Field(default_factory=dict)
    """Instructions that a rule permits, by the reason of the rule."""
    libraries: dict[str, Lines] = Field(default_factory=dict)
    """Known libraries that test the CPU, by the file that they are in."""
    places: tuple[PlaceData, ...] = ()
    """All places with instructions that the target lacks, the surest to run first."""
    violations: Counts = Field(default_factory=dict)
    """Instructions that fail, by extension."""


class TunedCodeData(Data):
    """Data of ``tuned-code``."""

    extensions: Counts = Field(default_factory=dict)
    """Instructions beyond Armv8-A outside code that is chosen at run time, by extension."""
    run_time_chosen: Counts = Field(default_factory=dict)
    """Those in code that is chosen at run time."""
    members: dict[str, Counts] = Field(default_factory=dict)
    """The same as ``extensions`` for each ELF file."""


class FlagsData(Data):
    """Data of ``flags``."""

    units: Count = 0
    """Compile units with a recorded command line."""
    flags: Lines = ()
    """Their distinct machine flags."""
    faults: Lines = ()
    """The first 50 faults."""


class OptimisationData(Data):
    """Data of ``optimisation``."""

    read: Literal["record", "sections"] | None = None
    """Where the levels come from: the record of the compile, or sections of the files."""
    levels: Counts = Field(default_factory=dict)
    """Compile units, or distinct command lines, by their ``-O``."""
    units: Count = 0
    """Units in the record."""
    allowed: Counts = Field(default_factory=dict)
    """Units without optimisation that the recipe allows, by its reason."""
    unoptimised: Lines = ()
    """The first 200 that fail."""
    without_ndebug: Lines = ()
    """The first 200 units with assertions."""
    gaps: str = ""
    """Why the record lacks units."""


class AlignmentData(Data):
    """Data of ``alignment``."""

    faults: Lines = ()
    """The faults, one for each segment."""


class PageSizeData(Data):
    """Data of ``page-size``."""

    jemalloc: dict[str, int | None] = Field(default_factory=dict)
    """The largest page size in bytes with which each jemalloc works; null if it cannot be read."""


class LoadingData(Data):
    """Data of ``loading``."""

    static_tls: Lines = ()
    """Files with static TLS, each with its size."""
    faults: Lines = ()
    """The faults, one for each file."""


class RpathData(Data):
    """Data of ``rpath``."""

    entries: Lines = ()
    """Distinct entries of all search paths."""
    faults: Lines = ()
    """The faults, one for each entry."""


class LicencesData(Data):
    """Data of ``licences``."""

    grafts: Lines = ()
    """Libraries that were copied into the wheel."""
    faults: Lines = ()
    """The faults, one for each library."""


class SizeData(Data):
    """Data of ``size``."""

    bytes: Count = 0
    """Size of the wheel file."""
    limit: int | None = None
    """The recipe's limit in bytes."""


class PassportData(Data):
    """Data of ``passport``."""

    build: str | None = None
    """The build that the passport names."""
    faults: Lines = ()
    """What is wrong with the passport."""


class DeathData(Data):
    """An import that ended by an illegal instruction."""

    module: str
    """The module that was imported."""
    file: str
    """Path of the file with the instruction, as installed; ``?`` if it is unknown."""
    address: Count
    """Address of the instruction in that file."""
    word: Count
    """The instruction."""


class RunData(Data):
    """Data of ``run``, which ``--run`` adds."""

    python: str | None = None
    """Tag of the Python that imported the modules."""
    cpu: str | None = None
    """The emulated CPU."""
    note: str | None = None
    """What the emulated CPU is and lacks."""
    imported: Lines = ()
    """Modules that were imported."""
    refused: tuple[tuple[str, str], ...] = ()
    """Modules that raised an exception, each with the exception."""
    deaths: tuple[DeathData, ...] = ()
    """Imports that ended by an illegal instruction."""


DATA: Mapping[str, type[Data]] = {
    "record": RecordData,
    "machine": MachineData,
    "tag": TagData,
    "symbols": SymbolsData,
    "libraries": LibrariesData,
    "instructions": InstructionsData,
    "tuned-code": TunedCodeData,
    "flags": FlagsData,
    "optimisation": OptimisationData,
    "alignment": AlignmentData,
    "page-size": PageSizeData,
    "loading": LoadingData,
    "rpath": RpathData,
    "licences": LicencesData,
    "size": SizeData,
    "passport": PassportData,
    "run": RunData,
}
"""The model of each check's data, by the name of the check, in the order of a report with ``--run``."""


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema of a report (draft 2020-12).

    It permits unknown keys and checks, since a later release may add them within a schema version.
    """
    schema = AuditReport.model_json_schema(mode="serialization")
    _, models = models_json_schema(
        [(model, "validation") for model in DATA.values()], ref_template="#/$defs/{model}"
    )
    schema["$defs"] |= models["$defs"]
    schema["$defs"]["Verdict"]["allOf"] = [
        {
            "if": {"properties": {"check": {"const": check}}},
            "then": {"properties": {"data": {"$ref": f"#/$defs/{model.__name__}"}}},
        }
        for check, model in DATA.items()
    ]
    for one in (schema, *schema["$defs"].values()):
        one.pop("additionalProperties", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
