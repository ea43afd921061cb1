"""Writes a survey as files: a page for people, JSON for programs, and a badge for each project."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from builder.audit.verdicts import sized
from builder.survey.model import Answer, Entry, Survey, counts
from builder.targets import Targets
from builder.whole import write_text

_COLOURS = {
    Answer.IMPORT: "#b3261e",
    Answer.CALLED: "#a84300",
    Answer.UNKNOWN: "#5f6368",
    Answer.CHOSEN: "#2f6f3e",
    Answer.RUNS: "#1a7f37",
}
_MARKS = {Answer.IMPORT: "✗", Answer.CALLED: "!", Answer.UNKNOWN: "?", Answer.CHOSEN: "✓", Answer.RUNS: "✓"}
# Width of one character of the badge's font, in pixels: Verdana at 11 pixels, on average.
_CHARACTER, _PADDING = 6.6, 10


def write_pages(survey: Survey, folder: Path, targets: Targets) -> tuple[Path, ...]:
    """Write ``index.html``, ``survey.json`` and ``badges/PROJECT.svg`` to ``folder``, and return their paths.

    The badges name the CPUs on which the wheel dies; one file is replaced at a time.
    """
    environment = Environment(
        loader=PackageLoader("builder.survey"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.jinja").render(
        survey=survey,
        answers=list(Answer),
        marks=_MARKS,
        counts={name: counts(survey.entries, name) for name in survey.targets},
        descriptions={name: targets[name].description for name in survey.targets},
        sized=sized,
    )
    files = {folder / "index.html": page, folder / "survey.json": survey.model_dump_json(indent=1) + "\n"}
    badge = environment.get_template("badge.svg.jinja")
    for entry in survey.entries:
        if entry.results:
            value, colour = badge_of(entry)
            left, right = _width("arm64 CPUs"), _width(value)
            files[folder / "badges" / f"{entry.project}.svg"] = badge.render(
                label="arm64 CPUs", value=value, colour=colour, left=left, right=right
            )
    for path, text in files.items():
        write_text(path, text)
    return tuple(files)


def badge_of(entry: Entry) -> tuple[str, str]:
    """Return the text and the colour of a project's badge. Pure."""
    harmed = [one.target for one in entry.results if one.answer in {Answer.IMPORT, Answer.CALLED}]
    if harmed:
        more = f" and {len(harmed) - 1} more" if len(harmed) > 1 else ""
        return f"{entry.worst.value} on {harmed[0]}{more}", _COLOURS[entry.worst]
    if not entry.worst.harmless:
        return entry.worst.value, _COLOURS[entry.worst]
    return f"runs on all {len(entry.results)}", _COLOURS[Answer.RUNS]


def _width(text: str) -> int:
    return round(len(text) * _CHARACTER) + _PADDING
