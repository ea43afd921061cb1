"""A decoder that answers from what the real llvm-mc was recorded to answer."""

from __future__ import annotations

import json

import numpy as np

from builder.audit.decode import Mask, Words
from tests.helpers import DATA

PLAIN = {0xD65F03C0, 0x8B020020, 0, 0xD503201F}


class RecordedDecoder:
    """Answers as llvm-mc did; a word it was never asked about is an error of the test."""

    def __init__(self) -> None:
        data = json.loads((DATA / "decoder" / "llvm-mc.json").read_text(encoding="utf-8"))
        self.words = {int(word, 16): text for word, text in data["words"].items()}
        self.refused = {key: {int(word, 16) for word in words} for key, words in data["refused"].items()}
        self.asked = 0

    def decodable(self, words: Words, cpu: str, attributes: tuple[str, ...] = ()) -> Mask:
        self.asked += len(words)
        refused = self.refused[" ".join((cpu, *attributes))]
        unknown = set(words.tolist()) - set(self.words) - PLAIN - {0xDEADC0DE}
        assert not unknown, f"not recorded: {[hex(word) for word in unknown]}"
        return np.array(
            [word not in refused and word != 0xDEADC0DE for word in words.tolist()], dtype=np.bool_
        )

    def word(self, text: str) -> int:
        """The word of a sample by its assembly text."""
        return next(word for word, assembly in self.words.items() if assembly == text)
