"""Holds a wheel to the label of a variant (PEP 825): every CPU whose owner gets the wheel must run it.

A label names no CPU. An installer takes a wheel labelled ``armv8.4a`` on Neoverse V1, which has SVE, and on
AmpereOne, which has none. So the wheel is judged for a CPU with the features that the label guarantees alone.
"""

from __future__ import annotations

from builder.audit import elf
from builder.audit.archive import WheelFile
from builder.audit.decode import Decoder
from builder.audit.elf import MalformedElfError
from builder.audit.instructions import survey
from builder.audit.libraries import known_libraries
from builder.audit.places import check_instructions, places
from builder.audit.verdicts import Verdict, failed, not_applicable
from builder.errors import AuditError
from builder.model.expectations import AllowedCode
from builder.model.variants import VALUES, attributes, guaranteed
from builder.targets import Target


def least(label: str, generic: Target) -> Target:
    """The least CPU on which an installer takes a wheel of this label, as a target; ``generic`` gives all else.

    Raises:
        AuditError: there is no such label.
    """
    if label not in VALUES:
        raise AuditError(f"'{label}' is no label of ours, whose CPUs are known; there is {', '.join(VALUES)}")
    return generic.model_copy(
        update={
            "name": label,
            "description": f"any CPU with {label}",
            "features": guaranteed(label),
            "llvm_cpu": "generic",
            "llvm_attributes": attributes(label),
        }
    )


def fitting_label(
    wheel: WheelFile, generic: Target, allow: tuple[AllowedCode, ...], decoder: Decoder
) -> tuple[str | None, Verdict]:
    """The least demanding label that a wheel holds to, with the verdict that decided.

    Without such a label, the verdict says what the CPUs of the most demanding one lack.

    Raises:
        AuditError: a member cannot be read, or the decoder does not run.
    """
    try:
        elves = [elf.read(member, data) for member, data in wheel.binaries()]
    except MalformedElfError as error:
        return None, failed("instructions", str(error))
    arm = [one for one in elves if one.is_aarch64]
    if not arm:
        return None, not_applicable("instructions", "no Arm code")
    best: tuple[str | None, Verdict] | None = None
    for label in reversed(tuple(VALUES)):
        target = least(label, generic)
        try:
            found = survey(arm, target, allow, decoder, known_libraries())
            verdict = check_instructions(found, places(found, arm), target, strict=True)
        except MalformedElfError as error:
            return None, failed("instructions", str(error))
        if verdict.outcome == "fail":
            return best or (None, verdict)
        best = label, verdict
    return best or (None, not_applicable("instructions", "no label"))
