"""`penalty_alpha` and `top_k` give the tokens that transformers 4.55.4 gave; support/golden says how they were made."""

import json
from pathlib import Path

import pytest
import torch

import decoding
from tests.support import tiny

FILE = Path(__file__).parents[1] / "support" / "golden" / "contrastive_transformers_4.55.4.json"
CASES = json.loads(FILE.read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['model']}{case['seed']}-{case['arguments']}")
def test_same_tokens_as_transformers_4(case):
    model = getattr(tiny, case["model"])(case["seed"])
    sequences = decoding.generate(model, **tiny.batch(case["prompts"]), **case["arguments"])
    assert torch.equal(sequences, torch.tensor(case["sequences"]))


def test_the_golden_tokens_are_no_greedy_search():
    different = 0
    for case in CASES:
        arguments = {**case["arguments"], "penalty_alpha": None, "top_k": None}
        greedy = getattr(tiny, case["model"])(case["seed"]).generate(**tiny.batch(case["prompts"]), **arguments)
        different += greedy.tolist() != case["sequences"]
    assert different > 0.9 * len(CASES)
