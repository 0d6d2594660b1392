"""What every context must say, whatever was done to its rows."""

import torch

from decoding import Context
from tests.support import tiny
from tests.support.oracles import methods as oracles


def check_rows(context, continuation, model, texts):
    logits, states, newest, mask = context(continuation), context.states, context.newest, context.mask
    assert logits.dtype == torch.float32
    for row, text in enumerate(texts):
        expected, hidden = oracles.read(model, text)
        unit = hidden / hidden.norm(dim=-1, keepdim=True)
        torch.testing.assert_close(logits[row], expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(states[row][mask[row].bool()], unit)
        torch.testing.assert_close(newest[row], unit[-1])


def shared_context(model, prompts, share=True) -> Context:
    def take(model, input_ids, logits_processor, stopping_criteria, generation_config, **prepared):
        return Context(model, input_ids, generation_config, keep_states=True, **prepared)

    made = model.generate(**tiny.batch(prompts), custom_generate=take, max_new_tokens=60)
    made.share = share
    return made
