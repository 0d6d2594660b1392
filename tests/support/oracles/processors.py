"""Between transformers' processors and the oracles, which read one text at a time."""

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
)

from tests.support.oracles import methods as oracles


def slow_processors(*processors):
    return lambda ids, logits: LogitsProcessorList(processors)(torch.tensor([ids]), logits[None].clone())[0]


class OracleProcessor(LogitsProcessor):
    """An oracle inside transformers' own `generate`: reads every row anew, whatever was done to the rows."""

    def __init__(self, model, oracle, prompts):
        self.model, self.prompts = model, prompts
        self.guides = [oracles.guided(oracle(i)) for i in range(len(prompts))]

    def __call__(self, input_ids, scores):
        width, copies, rows = max(map(len, self.prompts)), len(scores) // len(self.prompts), []
        for r, row in enumerate(input_ids.tolist()):
            i = r // copies
            ids = self.prompts[i] + row[width:]
            rows.append(self.guides[i](ids, oracles.read(self.model, ids)[0]))
        return torch.stack(rows)
