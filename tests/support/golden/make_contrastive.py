"""Writes what transformers 4.55.4's own contrastive search generates, the last release that carried it.

Run it where that release is installed: PYTHONPATH=. python tests/support/golden/make_contrastive.py
"""

import itertools
import json
from pathlib import Path

import torch
import transformers

from tests.support import tiny

ALONE, LONG = [5, 9, 11, 30, 7], [14, 3, 52, 27, 27, 41, 8, 60, 33, 19, 46, 5]
BATCHES = [[ALONE], [LONG], [ALONE, [8, 8, 3], LONG]]
SEARCHES = [(4, 0.6), (5, 0.6), (2, 0.9), (8, 0.3), (6, 1.0)]
PADDED = BATCHES[-1]
OPTIONS = [
    ([LONG], {"repetition_penalty": 1.3}),  # unpadded: transformers 4 penalised the pad token, transformers 5 does not
    (PADDED, {"min_new_tokens": 10}),
    (PADDED, {"no_repeat_ngram_size": 2}),
    (PADDED, {"bad_words_ids": [[7], [9]]}),
    (PADDED, {"eos_token_id": [2, 17, 33], "pad_token_id": 0}),
]


def cases():
    """Every batch and search on both models, and every further option."""
    for model, seed, prompts, (k, alpha) in itertools.product(("gpt2", "llama"), range(3), BATCHES, SEARCHES):
        yield model, seed, prompts, {"penalty_alpha": alpha, "top_k": k}
    for model, seed, (prompts, options) in itertools.product(("gpt2", "llama"), range(3), OPTIONS):
        yield model, seed, prompts, {"penalty_alpha": 0.6, "top_k": 4, **options}


def main() -> None:
    lines = []
    for name, seed, prompts, arguments in cases():
        model = getattr(tiny, name)(seed)
        arguments = {**arguments, "max_new_tokens": 16}
        sequences = model.generate(**tiny.batch(prompts), **arguments, do_sample=False).tolist()
        case = {"model": name, "seed": seed, "prompts": prompts, "arguments": arguments, "sequences": sequences}
        lines.append(json.dumps(case))
    head = f'{{"transformers": "{transformers.__version__}", "torch": "{torch.__version__}", "cases": [\n'
    file = Path(__file__).with_name(f"contrastive_transformers_{transformers.__version__}.json")
    file.write_text(head + ",\n".join(lines) + "\n]}\n")


if __name__ == "__main__":
    main()
