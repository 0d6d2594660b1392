"""The head alone gives the logits of the whole forward."""

import functools
import threading

import pytest
import torch

import decoding
from decoding import ContrastiveSearch
from decoding.engine.lm_head import HeadlessError, capture_last_hidden_states, no_logits, project_to_logits
from decoding.engine.probe import PROBED, ProbeResult
from tests.support import tiny
from tests.support.oracles import methods as oracles

PROMPTS = [[5, 9, 11, 30, 7, 40, 3, 22, 17, 6, 33], [8, 8, 3], [12]]


def test_a_model_whose_head_cannot_run_alone_keeps_its_logits(monkeypatch):
    model = tiny.llama()
    forward = type(model).forward

    @functools.wraps(forward)
    def late(self, *args, **kwargs):
        out = forward(self, *args, **kwargs)
        if not isinstance(self, type(model)):
            out.logits = out.logits + torch.arange(61)
        return out

    monkeypatch.setattr(type(model), "forward", late)
    found = decoding.generate(model, torch.tensor([PROMPTS[0]]), processors=[ContrastiveSearch(k=4)], max_new_tokens=8)
    assert list(PROBED.of_model(model).values()) == [ProbeResult(shares=True, headless=False)]
    monkeypatch.undo()
    assert found[0, 11:].tolist() == oracles.contrastive_search(tiny.llama(), PROMPTS[0], 8, 4, 0.6)


@pytest.mark.parametrize("make", [tiny.gpt2, tiny.llama])
def test_the_head_alone_gives_the_logits_of_the_whole_forward(make):
    model, inputs = make(), tiny.batch([[5, 6, 7], [8, 9, 10]])
    with torch.no_grad(), capture_last_hidden_states(model) as captured:
        whole = model(**inputs).logits[:, -1]
        torch.testing.assert_close(project_to_logits(model, captured[-1][:, -1]), whole)
    assert len(captured) == 1
    assert not model.get_decoder()._forward_hooks  # none is left behind


def test_states_of_another_thread_are_not_captured():
    model, inputs = tiny.gpt2(), tiny.batch([[5, 6, 7]])
    with torch.no_grad(), capture_last_hidden_states(model) as captured:
        thread = threading.Thread(target=lambda: model(**inputs))
        thread.start()
        thread.join()
    assert captured == []


def test_a_model_that_is_its_own_backbone_has_no_head_apart():
    with pytest.raises(HeadlessError, match="GPT2Model has no backbone that could be left out"):
        project_to_logits(tiny.gpt2().transformer, torch.zeros(1, 32))


def test_no_logits_are_made_where_none_are_asked_for():
    model = tiny.gpt2()
    assert model(**tiny.batch([[5, 6]]), logits_to_keep=no_logits("cpu")).logits.shape[1] == 0
