"""Audits of wheels, built by Armwheels or by others.

:func:`audit_wheel` reads one wheel and returns an :class:`AuditReport`. It changes nothing. The
:class:`~builder.model.expectations.Expectations` of a recipe are its requirements on the wheel.
"""

from builder.audit.archive import WheelFile, open_wheel
from builder.audit.flags import machine_flags, observed_flags
from builder.audit.report import audit_wheel, passport_target
from builder.audit.verdicts import AUDIT_VERSION, AuditReport, Verdict

__all__ = [
    "AUDIT_VERSION",
    "AuditReport",
    "Verdict",
    "WheelFile",
    "audit_wheel",
    "machine_flags",
    "observed_flags",
    "open_wheel",
    "passport_target",
]
