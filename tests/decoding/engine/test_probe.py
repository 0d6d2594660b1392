"""May rows share their prefix? A model that is wrong without an error is found out."""

import pytest
import torch

import decoding
from decoding import ContrastiveSearch
from decoding.engine import prefix_sharing, probe
from decoding.engine.probe import PROBED, ProbeResult
from tests.support import tiny
from tests.support.contexts import check_rows, shared_context
from tests.support.families import FAMILIES
from tests.support.oracles import methods as oracles

PROMPTS = [[5, 9, 11, 30, 7, 40, 3, 22, 17, 6, 33], [8, 8, 3], [12]]


SHARES = {
    "gpt2", "gptj", "gpt_neox", "gpt_bigcode (multi-query)", "codegen", "opt", "xglm", "biogpt", "llama", "smollm3",
    "qwen2", "qwen3", "olmo", "olmo2", "cohere", "granite", "stablelm", "nemotron", "glm", "ernie4_5",
    "mistral (no window)", "mistral (window)", "starcoder2 (window)", "phi", "phi3 (window)", "gemma",
    "gemma2 (hybrid window)", "gemma3 (hybrid window)", "gpt_oss (sinks, hybrid window)", "mixtral", "qwen2_moe",
    "qwen3_moe", "olmoe", "deepseek_v3 (latent attention)", "falcon (rotary)",
}  # fmt: skip


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_which_families_share(family):
    if family.refused:
        return
    model = family.model()
    inputs = {"input_ids": torch.tensor([[5, 9, 11, 30, 7, 21, 13, 44, 52, 3]])}
    decoding.generate(model, **inputs, processors=[ContrastiveSearch(k=4)], max_new_tokens=2, pad_token_id=0)
    results = list(PROBED.of_model(model).values())
    assert [result.shares for result in results] in ([True], [False], [])
    assert (results == [ProbeResult(True, True)]) == (str(family) in SHARES)


def test_a_model_that_is_wrong_without_an_error_is_found_out(monkeypatch):
    """Siblings see each other: the probe says no, and the tokens are right all the same."""
    model = tiny.llama()
    tree = prefix_sharing.PrefixTree
    whole = tree._make_masks
    monkeypatch.setattr(tree, "_make_masks", lambda self, seen, *rest: whole(self, seen | True, *rest))
    found = decoding.generate(model, torch.tensor([PROMPTS[0]]), processors=[ContrastiveSearch(k=4)], max_new_tokens=8)
    assert [seen.shares for seen in PROBED.of_model(model).values()] == [False]
    assert found[0, 11:].tolist() == oracles.contrastive_search(tiny.llama(), PROMPTS[0], 8, 4, 0.6)


@pytest.mark.parametrize("forks", [False, True])
@pytest.mark.parametrize("how", ["wrong", "error"])
def test_a_probe_that_fails_leaves_the_state_as_it_was(how, forks, monkeypatch, caplog):
    """Nothing has to be undone: it is a copy that was fed, or half fed."""
    model, tree = tiny.llama(), prefix_sharing.PrefixTree
    whole = tree._make_masks
    if how == "wrong":
        monkeypatch.setattr(tree, "_make_masks", lambda self, seen, *rest: whole(self, seen | True, *rest))
    else:
        monkeypatch.setattr(tree, "per_row", lambda *_: (_ for _ in ()).throw(RuntimeError("of a model")))
    rows = shared_context(model, PROMPTS, share=None)
    rows(torch.zeros(3, 0, dtype=torch.long))
    chosen = [0, 1, 1, 2] if forks else [0, 1, 2]
    if forks:
        rows.select(torch.tensor(chosen))
    continuation = torch.tensor([[4, 30, 7], [9, 9, 8], [11, 60, 5], [6, 7, 8]])[: len(chosen)]
    before = rows._state
    rows.read(continuation[:, :1])
    assert rows._state is before
    assert [seen.shares for seen in PROBED.of_model(model).values()] == [False]
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == (how == "error")
    assert all("LlamaForCausalLM: rows cannot share their prefix" in line and "of a model" in line for line in said)
    check_rows(
        rows, continuation, model, [PROMPTS[row] + new for row, new in zip(chosen, continuation.tolist(), strict=True)]
    )


@pytest.mark.parametrize("error", [FutureWarning, UserWarning, torch.OutOfMemoryError, MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["branches", "head"])
def test_what_says_nothing_of_sharing_is_raised_by_a_probe(place, error, monkeypatch):
    """A warning that is an error here, a lack of memory, Ctrl-C: the model gave no answer, and is asked again."""

    def fail(*_, **__):
        raise error("of something else")

    model, rows = tiny.llama(), torch.zeros(3, 0, dtype=torch.long)
    continuation = torch.tensor([[4], [9], [11]])
    if place == "branches":
        monkeypatch.setattr(prefix_sharing.PrefixTree, "per_row", fail)
    else:
        monkeypatch.setattr(probe, "project_to_logits", fail)
    context = shared_context(model, PROMPTS, share=None)
    context(rows)
    with pytest.raises(error, match="of something else"):
        context.read(continuation)
    assert PROBED.of_model(model) == {}
    monkeypatch.undo()
    context.read(continuation)
    assert [seen.shares for seen in PROBED.of_model(model).values()] == [True]
    check_rows(context, continuation, model, [p + c for p, c in zip(PROMPTS, continuation.tolist(), strict=True)])


def test_a_probe_copies_the_cache_for_few_rows():
    """And goes on by the general path, with all rows, where it fails."""
    model, shapes = tiny.llama(), []
    model.register_forward_pre_hook(lambda _, args, kwargs: shapes.append(kwargs["input_ids"].shape), with_kwargs=True)
    call = {**tiny.batch(PROMPTS[:2]), "processors": [ContrastiveSearch(k=6)], "max_new_tokens": 2}
    decoding.generate(model, **call)
    assert shapes == [(2, 11), (3, 1), (2, 6), (2, 6)]
    decoding.generate(model, **call)
    assert shapes[4:] == [(2, 11), (2, 6), (2, 6)]
