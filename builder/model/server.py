"""``configs/servers.toml``: what servers report of their CPU, as recorded on real ones. Frozen data.

Sources: Linux, ``arch/arm64/include/uapi/asm/hwcap.h`` (bits of ``AT_HWCAP`` and ``AT_HWCAP2``) and
``arch/arm64/kernel/cpuinfo.c`` (their names, and the format of ``/proc/cpuinfo``); the Arm Architecture Reference
Manual, "MIDR_EL1, Main ID Register".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, field_validator

from builder.model.base import Config, Name

_HWCAP_NAMES = """
    fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3
    sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg
"""
_HWCAP2_NAMES = """
    dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm svebf16 i8mm
    bf16 dgh rng bti mte ecv afp rpres mte3 sme smei16i64 smef64f64 smei8i32 smef16f32 smeb16f32 smef32f32 smefa64
    wfxt ebf16 sveebf16 cssc rprfm sve2p1 sme2 sme2p1 smei16i32 smebi32i32 smeb16b16 smef16f16 mops hbc sveb16b16
    lrcpc3
"""
HWCAP = tuple(_HWCAP_NAMES.split())
"""Names of the bits of ``AT_HWCAP``, from bit 0 on."""
HWCAP2 = tuple(_HWCAP2_NAMES.split())
"""Names of the bits of ``AT_HWCAP2``, from bit 0 on."""


class ServerTable(Config):
    """One table of ``configs/servers.toml``: a server."""

    description: str
    """Name of the server for people."""
    source: str
    """Where its ``/proc/cpuinfo`` was recorded or published."""
    recorded: bool = True
    """Whether its features were read off a real machine, and not taken from what compilers say of the CPU."""
    midr: Annotated[int, Field(ge=0, lt=1 << 32)]
    """Main ID register (MIDR_EL1): implementer, variant, part and revision of the CPU."""
    features: str
    """The line ``Features`` of its ``/proc/cpuinfo``."""
    bogomips: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]{2}$")]
    """The line ``BogoMIPS`` of its ``/proc/cpuinfo``."""

    @field_validator("midr")
    @classmethod
    def _has_features(cls, value: int) -> int:
        if value >> 16 & 0xF != 0xF:
            raise ValueError("the architecture (bits 19 to 16) of a 64-bit Arm CPU is 0xf")
        return value

    @field_validator("features")
    @classmethod
    def _known(cls, value: str) -> str:
        names = value.split()
        if unknown := sorted(set(names) - {*HWCAP, *HWCAP2}):
            raise ValueError(f"Linux has no feature {', '.join(unknown)}")
        if value != " ".join(sorted(set(names), key=[*HWCAP, *HWCAP2].index)):
            raise ValueError("features must stand once each, in Linux's order, separated by one space")
        return value

    @property
    def flags(self) -> frozenset[str]:
        """The features as a set."""
        return frozenset(self.features.split())

    @property
    def part(self) -> str:
        """Implementer and part number, as ``parts`` of a target has them."""
        return f"0x{self.midr >> 24:02x}:0x{self.midr >> 4 & 0xFFF:03x}"

    @property
    def hwcap(self) -> tuple[int, int]:
        """The values of ``AT_HWCAP`` and ``AT_HWCAP2``."""
        return _bits(self.flags, HWCAP), _bits(self.flags, HWCAP2)

    def cpuinfo(self, processors: int) -> str:
        """The text of ``/proc/cpuinfo`` of a machine with that many processors, as Linux writes it."""
        lines = (
            f"BogoMIPS\t: {self.bogomips}",
            f"Features\t: {self.features}",
            f"CPU implementer\t: 0x{self.midr >> 24:02x}",
            "CPU architecture: 8",
            f"CPU variant\t: 0x{self.midr >> 20 & 0xF:x}",
            f"CPU part\t: 0x{self.midr >> 4 & 0xFFF:03x}",
            f"CPU revision\t: {self.midr & 0xF}",
        )
        block = "\n".join(lines)
        return "".join(f"processor\t: {number}\n{block}\n\n" for number in range(processors))


class Server(ServerTable):
    """A server with its name."""

    name: Name


def names_of(hwcap: int, hwcap2: int) -> frozenset[str]:
    """The names of the features in ``AT_HWCAP`` and ``AT_HWCAP2``; ``bitN`` and ``bit2.N`` for bits without one."""
    return frozenset((*_names(hwcap, HWCAP, "bit"), *_names(hwcap2, HWCAP2, "bit2.")))


def _bits(flags: frozenset[str], names: Sequence[str]) -> int:
    return sum(1 << bit for bit, name in enumerate(names) if name in flags)


def _names(value: int, names: Sequence[str], unnamed: str) -> list[str]:
    known = dict(enumerate(names))
    return [known.get(bit, f"{unnamed}{bit}") for bit in range(value.bit_length()) if value >> bit & 1]
