"""Tables of the CPU targets: their order as a tree, and which one fits a machine."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from builder.targets import Fit, Target, Targets


def order(targets: Targets) -> RenderableType:
    """All targets, each below the ones whose wheels it runs, with what it adds to them."""
    table = Table(title="CPU targets", title_justify="left", caption_justify="left", pad_edge=False, box=None)
    table.caption = "A target runs its own wheels and those of every target it hangs from."
    for heading in ("target", "also called", "zig flag", "emulator", "adds"):
        table.add_column(heading, no_wrap=heading in {"target", "zig flag"})
    for prefix, target, parent in _rows(targets):
        gained = target.in_code - (parent.in_code if parent else frozenset())
        table.add_row(
            Text.assemble((prefix, "dim"), (target.name, "bold cyan")),
            ", ".join(target.aliases),
            " ".join(step.flags[0] for step in target.compilers.get("zig", ())[-1:]),
            target.emulator.cpu if target.emulator else Text("no model", style="dim"),
            Text(" ".join(sorted(gained)), style="green"),
        )
    return table


def fit(targets: Targets, found: Fit) -> RenderableType:
    """Which target fits, what the part number says, and why the next better ones do not."""
    others = ", ".join(found.target.also_runs) or "no other target"
    lines: list[RenderableType] = [
        Text.assemble("fits ", (found.target.name, "bold green"), f", {found.target.description}"),
        Text(f"also runs wheels for {others}", style="dim"),
        Text(f"part {', '.join(found.parts)}: {_named(found)}", style="dim"),
    ]
    table = Table(pad_edge=False, box=None)
    for heading in ("target", "wheels run", "features missing here"):
        table.add_column(heading)
    for target in targets.values():
        missing = found.why_not(target)
        closest = target in found.next_better or target == found.named
        table.add_row(
            Text(target.name, style="bold green" if target == found.target else "bold" if closest else ""),
            Text("no", style="red") if missing else Text("yes", style="green"),
            " ".join(missing),
        )
    return Group(*lines, Text(), table)


def _named(found: Fit) -> str:
    if found.named is None:
        return "no part that targets.toml knows, so the features alone decide"
    if found.named == found.target:
        return found.named.description
    hidden = " ".join(found.why_not(found.named))
    return f"{found.named.description}, but the kernel or hypervisor does not show {hidden}"


def _rows(targets: Targets) -> list[tuple[str, Target, Target | None]]:
    """Each target with its tree prefix and the target it hangs from, depth first."""
    above = {target.name: targets.directly_above(target) for target in targets.values()}
    hanging = {child.name for children in above.values() for child in children}
    rows: list[tuple[str, Target, Target | None]] = []

    def walk(target: Target, parent: Target | None, lead: str, branch: str, deeper: str) -> None:
        rows.append((lead + branch, target, parent))
        children = above[target.name]
        for child in children:
            last = child == children[-1]
            walk(child, target, lead + deeper, "└─ " if last else "├─ ", "   " if last else "│  ")

    for root in targets.values():
        if root.name not in hanging:
            walk(root, None, "", "", "")
    return rows
