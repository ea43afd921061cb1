"""The real llvm-mc: recorded answers still hold, and decoding follows the order of the targets."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from builder.audit.decode import LlvmMc
from builder.cpus import load_targets
from tests.helpers import DATA

pytestmark = pytest.mark.slow

RECORDED = DATA / "decoder" / "llvm-mc.json"
ANSWERS = json.loads(RECORDED.read_text(encoding="utf-8"))
WORDS = np.array([int(word, 16) for word in ANSWERS["words"]], dtype=np.uint32)


def test_llvm_mc_still_answers_as_recorded(llvm_mc: Path) -> None:
    decoder = LlvmMc(llvm_mc)
    for question, refused in ANSWERS["refused"].items():
        cpu, *attributes = question.split()
        mask = decoder.decodable(WORDS, cpu, tuple(attributes))
        assert [f"{word:08x}" for word in WORDS[~mask].tolist()] == refused, question


def test_a_better_target_decodes_all_that_a_lesser_one_does(llvm_mc: Path) -> None:
    decoder = LlvmMc(llvm_mc)
    known = load_targets()
    knows = {name: decoder.decodable(WORDS, one.llvm_cpu, one.llvm_attributes) for name, one in known.items()}
    for lesser, better in itertools.permutations(known.values(), 2):
        if lesser < better:
            lost = WORDS[knows[lesser.name] & ~knows[better.name]].tolist()
            assert not lost, (
                f"{better} lacks {[ANSWERS['words'][f'{word:08x}'] for word in lost]} of {lesser}"
            )


def test_a_million_words_in_one_run_and_more_in_two(llvm_mc: Path) -> None:
    words = np.resize(WORDS, 1_000_001)
    mask = LlvmMc(llvm_mc).decodable(words, "generic")
    assert (mask == np.resize(mask[: len(WORDS)], len(words))).all()
