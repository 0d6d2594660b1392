"""What every context must say, whatever was done to its rows."""

import torch

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
