"""What an emulated program sees of the CPU. Run as a script by the emulated Python, it prints that as JSON."""

from __future__ import annotations

import ctypes
import json
import struct
from pathlib import Path

AT_HWCAP, AT_HWCAP2, PR_SVE_GET_VL = 16, 26, 51
"""From ``linux/auxvec.h`` and ``linux/prctl.h``."""


def shown() -> dict[str, object]:
    """Return the capabilities by getauxval(3) and ``/proc/self/auxv``, cpuinfo, part numbers and vector length."""
    library = ctypes.CDLL(None)
    library.getauxval.argtypes = [ctypes.c_ulong]
    library.getauxval.restype = ctypes.c_ulong
    vector = dict(struct.iter_unpack("QQ", Path("/proc/self/auxv").read_bytes()))
    folder = Path("/sys/devices/system/cpu")
    length = library.prctl(PR_SVE_GET_VL, 0, 0, 0, 0)
    return {
        "getauxval": [library.getauxval(AT_HWCAP), library.getauxval(AT_HWCAP2)],
        "auxv": [vector.get(AT_HWCAP, 0), vector.get(AT_HWCAP2, 0)],
        "cpuinfo": Path("/proc/cpuinfo").read_text(encoding="ascii"),
        "midr": sorted(
            {int(path.read_text(), 16) for path in folder.glob("cpu[0-9]*/regs/identification/midr_el1")}
        ),
        # The kernel's answer has flags above bit 16, and is negative without SVE (prctl(2)).
        "vector_bits": (length & 0xFFFF) * 8 if length > 0 else 0,
    }


if __name__ == "__main__":
    print(json.dumps(shown()))  # noqa: T201 - the answer
