"""Read-only verdicts about a wheel, ours or another project's.

:func:`audit_wheel` reads one file and answers with an :class:`AuditReport`; it changes nothing. What a recipe
expects of its wheels is an :class:`Expectations`.
"""

from builder.audit.archive import WheelFile, open_wheel
from builder.audit.flags import machine_flags, observed_flags
from builder.audit.report import audit_wheel, passport_target
from builder.audit.verdicts import AuditReport, Verdict

__all__ = [
    "AuditReport",
    "Verdict",
    "WheelFile",
    "audit_wheel",
    "machine_flags",
    "observed_flags",
    "open_wheel",
    "passport_target",
]
