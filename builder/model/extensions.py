"""The Arm extensions an audit tells apart by LLVM's decoder.

An instruction beyond Armv8.0-A belongs to the first row whose attributes, added to the plain Armv8-A decoder,
make it decodable. Rows stand so that an extension comes before those that imply it: ``+sve`` enables half
precision, so ``fp16`` is asked first.

Sources: LLVM's names are those of ``llvm-mc --mattr=help``; encodings are from the Arm Architecture Reference
Manual for A-profile (DDI 0487), chapter C6.
"""

from __future__ import annotations

from typing import NamedTuple

from builder.model.system_space import SYSTEM


class Extension(NamedTuple):
    """An extension by our name and by the LLVM attributes that switch it on.

    ``scalable`` extensions live in the SVE and SME parts of the encoding space, the others outside them
    (DDI 0487, section C4.1), so that no word has to be asked about both.
    """

    name: str
    attributes: tuple[str, ...]
    scalable: bool = False


EXTENSIONS = (
    Extension("crc", ("+crc",)),
    Extension("lse", ("+lse",)),
    Extension("rdm", ("+rdm",)),
    Extension("aes", ("+aes",)),
    Extension("sha2", ("+sha2",)),
    Extension("fp16", ("+fullfp16",)),
    Extension("dotprod", ("+dotprod",)),
    Extension("rcpc", ("+rcpc",)),
    Extension("fcma", ("+complxnum",)),
    Extension("jscvt", ("+jsconv",)),
    Extension("pauth", ("+pauth",)),
    Extension("flagm", ("+flagm",)),
    Extension("rcpc2", ("+rcpc-immo",)),
    Extension("fp16fml", ("+fp16fml",)),
    Extension("sha3", ("+sha3",)),
    Extension("sm4", ("+sm4",)),
    Extension("bf16", ("+bf16",)),
    Extension("i8mm", ("+i8mm",)),
    Extension("frint", ("+fptoint",)),
    Extension("sve", ("+sve",), scalable=True),
    Extension("sve-bf16", ("+sve", "+bf16"), scalable=True),
    Extension("sve-i8mm", ("+sve", "+i8mm"), scalable=True),
    Extension("f32mm", ("+f32mm",), scalable=True),
    Extension("f64mm", ("+f64mm",), scalable=True),
    Extension("sve2", ("+sve2",), scalable=True),
    Extension("sve2-aes", ("+sve2-aes",), scalable=True),
    Extension("sve2-sha3", ("+sve2-sha3",), scalable=True),
    Extension("sve2-sm4", ("+sve2-sm4",), scalable=True),
    Extension("sve2-bitperm", ("+sve2-bitperm",), scalable=True),
    Extension("lor", ("+lor",)),
    Extension("mte", ("+mte",)),
    Extension("ls64", ("+ls64",)),
    Extension("mops", ("+mops",)),
    Extension("cssc", ("+cssc",)),
    Extension("hbc", ("+hbc",)),
    Extension("lse128", ("+lse128",)),
    Extension("sve2p1", ("+sve2p1",), scalable=True),
    Extension("sme", ("+sme",), scalable=True),
    Extension("sme2", ("+sme2",), scalable=True),
)
# Bits 28 to 25 tell the parts of the encoding space: 0000 holds SME (and nothing else of use), 0010 SVE.
SPACE_SHIFT, SPACE_MASK = 25, 0xF
SCALABLE_SPACES = (0b0000, 0b0010)


OTHER = "other"  # decodable with everything switched on, yet by no single row
DATA = "data"  # decodable by no CPU at all
EXTENSION_NAMES = tuple(
    dict.fromkeys(
        [*(extension.name for extension in EXTENSIONS), *(row.name for row in SYSTEM if row.name), OTHER]
    )
)
