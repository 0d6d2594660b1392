"""Metrics that read a model: equal to one text at a time, whatever is batched, padded, cached or killed."""

import math

import numpy as np
import pytest
import torch

from benchmarks.metrics import likelihood
from benchmarks.metrics.likelihood import coherence, log_likelihoods, perplexity
from tests.support import tiny
from tests.support.oracles import methods as oracles
from tests.support.text_models import MODELS, WORDS, ids

# features


# likelihood


PREFIXES = ["The", "a longer prefix, here", "N", ""]


def oracle(model, prefix, text):
    head, row = ids(prefix) or [tiny.BOS], ids(text)
    whole = head + row
    return [float(oracles.log_p(model, whole[:t])[whole[t]]) for t in range(len(head), len(whole))]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_likelihoods_are_those_of_each_text_alone(name, batch_size):
    texts = [" abc", "de", "", "a longer continuation"]
    found = log_likelihoods(MODELS[name], WORDS, PREFIXES, texts, batch_size=batch_size)
    expected = [oracle(MODELS[name], prefix, text) for prefix, text in zip(PREFIXES, texts, strict=True)]
    np.testing.assert_allclose(found[:, 0], [sum(one) for one in expected], atol=1e-4)
    assert found[:, 1].tolist() == [4, 2, 0, 21]
    means = [np.mean(one) for one in expected if one]
    assert coherence(found).value == pytest.approx(np.mean(means), abs=1e-5)
    assert np.isnan(coherence(found).per_text[2])
    everything = [value for one in expected for value in one]
    assert perplexity(found).value == pytest.approx(math.exp(-np.mean(everything)), rel=1e-5)
    assert perplexity(found).low < perplexity(found).value < perplexity(found).high


def test_likelihoods_of_a_half_precision_model_are_sums_of_float32():
    model = tiny.llama().bfloat16()
    found = log_likelihoods(model, WORDS, ["The"], [" abc"])[0, 0]
    with torch.no_grad():
        logits = model(torch.tensor([ids("The abc")])).logits[0, 2:-1].float()
    expected = logits.log_softmax(-1).gather(1, torch.tensor(ids(" abc"))[:, None]).sum()
    assert found == pytest.approx(float(expected), abs=1e-5)


def test_likelihoods_without_prefixes_begin_at_the_beginning():
    model = MODELS["llama"]
    found = log_likelihoods(model, WORDS, None, ["abc"])
    assert found[0, 0] == pytest.approx(sum(oracle(model, "", "abc")), abs=1e-5)
    words = tiny.tokenizer()
    words.bos_token = None
    whole = [tiny.EOS, *ids("abc")]
    expected = sum(float(oracles.log_p(model, whole[:t])[whole[t]]) for t in (1, 2, 3))
    assert log_likelihoods(model, words, None, ["abc"])[0, 0] == pytest.approx(expected, abs=1e-5)
    words.eos_token = None
    with pytest.raises(ValueError, match="give prefixes"):
        log_likelihoods(model, words, None, ["abc"])


def test_special_tokens_are_the_tokenizers_own_and_the_prefixs_alone():
    class Opening:
        """A tokenizer that begins every text with its first token, as OPT's and Llama's do."""

        bos_token_id, eos_token_id = tiny.BOS, tiny.EOS

        def __call__(self, text, add_special_tokens=True):
            return {"input_ids": [tiny.BOS] * add_special_tokens + ids(text)}

    model = MODELS["gpt2"]
    whole = [tiny.BOS, *ids("Theabc")]
    expected = sum(float(oracles.log_p(model, whole[:t])[whole[t]]) for t in (4, 5, 6))
    assert log_likelihoods(model, Opening(), ["The"], ["abc"])[0].tolist() == pytest.approx([expected, 3], abs=1e-5)


def test_the_head_is_computed_for_continuations_alone():
    model, seen = tiny.llama(), []
    model.lm_head.register_forward_hook(lambda *call: seen.append(call[2].shape[1]))
    log_likelihoods(model, WORDS, ["a longer prefix"], ["bc"])
    assert seen == [2]  # of two tokens; nothing is asked of what comes after the last


@pytest.mark.parametrize(
    ("prefixes", "texts", "options", "message"),
    [
        (["a"], ["b", "c"], {}, "1 prefixes and 2 continuations"),
        (["a"], ["b"], {"batch_size": 0}, "batch_size"),
        ([], [], {}, "no texts"),
        (["ab"], ["c" * 127], {}, "text 0 has 129 tokens and the model reads 128"),
    ],
)
def test_likelihoods_are_refused_before_any_forward(prefixes, texts, options, message):
    model = tiny.gpt2()
    model.transformer.forward = lambda *_, **__: pytest.fail("a forward was run")
    with pytest.raises(ValueError, match=message):
        log_likelihoods(model, WORDS, prefixes, texts, **options)


# similarity


def test_likelihood_module_counts_tokens_not_texts():
    found = perplexity(np.array([[-6.0, 2], [-1.0, 10]]))
    assert found.value == pytest.approx(math.exp(7 / 12))
    assert found.per_text == pytest.approx([math.exp(3), math.exp(0.1)])
    assert likelihood.coherence(np.array([[-6.0, 2], [-1.0, 10]])).value == pytest.approx(-1.55)
