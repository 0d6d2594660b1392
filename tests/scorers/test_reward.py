"""Reward models: a batch is what its texts are alone, whatever pads; mixtures weigh their experts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from scorers import Classifier, Function, Gated, RewardModel, Router, Scorer
from tests.support import tiny
from tests.support.encoders import gpt2_reward

WORDS = tiny.tokenizer()
PREFIXES = ["The night was", "Hm", "It is warm here, and on it goes", ""]
CONTINUATIONS = [" cold. So", " m!", "", " Say so, said he to her"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
TEMPLATE = "{% for m in messages %}<bos>{{ m.role[0] }}.{{ m.content }}!{% endfor %}"


def llama(labels=1, pad=None, seed=0):
    config = LlamaConfig(
        vocab_size=tiny.VOCABULARY, **SIZES, max_position_embeddings=128, num_labels=labels, pad_token_id=pad,
        bos_token_id=tiny.BOS, eos_token_id=tiny.EOS,
    )  # fmt: skip
    return tiny.seeded(LlamaForSequenceClassification(config), seed)


def bert(labels=1):
    config = BertConfig(
        vocab_size=tiny.VOCABULARY, **SIZES, max_position_embeddings=64, num_labels=labels, pad_token_id=0
    )
    return tiny.seeded(BertForSequenceClassification(config))


MODELS = {"llama": llama(), "gpt2": gpt2_reward(), "bert": bert()}


def letters(text):
    return WORDS(text, add_special_tokens=False)["input_ids"]


@torch.no_grad()
def reward(model, ids, index=0):
    """One text, no padding: the head over the last token, of an encoder the model's own."""
    ids = torch.tensor([ids])
    if model.config.model_type == "bert":
        return float(model(ids).logits[0, index])
    trunk = model.model if model.config.model_type == "llama" else model.transformer
    return float(model.score(trunk(ids).last_hidden_state[0, -1])[index])


def expected(model, end=(), index=0, pairs=None):
    pairs = pairs or zip(PREFIXES, CONTINUATIONS, strict=True)
    return torch.tensor([reward(model, [*letters(prefix + text), *end], index) for prefix, text in pairs])


@pytest.mark.parametrize("name", MODELS)
def test_scores_equal_single_texts(name):
    for batch_size in (1, 3, 8):
        scorer = RewardModel(MODELS[name], WORDS, batch_size=batch_size)
        torch.testing.assert_close(scorer(PREFIXES, CONTINUATIONS), expected(MODELS[name]))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("pad", [None, tiny.PAD, tiny.EOS, 5])
def test_an_appended_end_is_read_whatever_pads(name, pad):
    """transformers passes over the end of text where it is the padding token, and refuses batches without one."""
    model = MODELS[name]
    words = tiny.tokenizer()
    words.pad_token = "<eos>" if pad == tiny.EOS else "<pad>"
    before, model.config.pad_token_id = model.config.pad_token_id, pad
    try:
        for end in ((), (tiny.EOS,)):
            scorer = RewardModel(model, words, append_eos=bool(end), batch_size=3)
            torch.testing.assert_close(scorer(PREFIXES, CONTINUATIONS), expected(model, end))
        assert model.config.pad_token_id == pad  # as it was
    finally:
        model.config.pad_token_id = before


def test_texts_that_end_are_not_ended_twice():
    scorer = RewardModel(MODELS["llama"], WORDS, append_eos=True)
    torch.testing.assert_close(
        scorer(["a", "a"], ["b<eos>", "b"]), expected(MODELS["llama"], [2], pairs=[("a", "b")] * 2)
    )


TEXTS = st.text("abcXYZ .", max_size=10)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS.filter(bool)), min_size=1, max_size=5), st.integers(1, 4))
def test_any_batch_equals_single_texts(pairs, batch_size):
    scorer = RewardModel(MODELS["llama"], WORDS, batch_size=batch_size)
    found = scorer([prefix for prefix, _ in pairs], [text for _, text in pairs])
    torch.testing.assert_close(found, expected(MODELS["llama"], pairs=pairs), rtol=1e-5, atol=1e-5)


def test_equal_pairs_are_read_once():
    model, seen = MODELS["llama"], []
    hook = model.register_forward_pre_hook(
        lambda _, args, inputs: seen.append(len(inputs["input_ids"])), with_kwargs=True
    )
    RewardModel(model, WORDS)(["a", "a", "b"], ["c", "c", "c"])
    hook.remove()
    assert seen == [2]


# forms


SPECIAL = [("<bos>", tiny.BOS), ("<eos>", tiny.EOS)]


def chatty():
    """With a chat template, beside which it would put special tokens around every text."""
    words = tiny.tokenizer()
    words.chat_template = TEMPLATE
    words.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A <eos>", special_tokens=SPECIAL)
    return words


def test_chats_are_written_by_the_template():
    words, model = chatty(), MODELS["llama"]
    scorer = RewardModel(model, words, "chat")
    wrapped = [[tiny.BOS, *letters(f"u.{prefix}!"), tiny.BOS, *letters(f"a.{text}!")]
               for prefix, text in zip(PREFIXES, CONTINUATIONS, strict=True)]  # fmt: skip
    found = torch.tensor([reward(model, ids) for ids in wrapped])
    torch.testing.assert_close(scorer(PREFIXES, CONTINUATIONS), found)
    with pytest.raises(ValueError, match="no chat template"):
        RewardModel(model, WORDS, "chat")


def pairing(pair="<bos> $A <eos> $B:1 <eos>:1"):
    words = tiny.tokenizer()
    words.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    words.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>", pair=pair, special_tokens=SPECIAL
    )
    return words


@torch.no_grad()
def test_pairs_are_two_segments():
    model, found = MODELS["bert"], []
    for prefix, text in zip(PREFIXES, CONTINUATIONS, strict=True):
        first, second = [tiny.BOS, *letters(prefix), tiny.EOS], [*letters(text), tiny.EOS]
        types = torch.tensor([[0] * len(first) + [1] * len(second)])
        found.append(float(model(torch.tensor([first + second]), token_type_ids=types).logits))
    for batch_size in (1, 4):
        scorer = RewardModel(model, pairing(), "pair", batch_size=batch_size)
        torch.testing.assert_close(scorer(PREFIXES, CONTINUATIONS), torch.tensor(found))


def test_an_appended_end_is_of_the_second_segment():
    ended, endless = pairing(), pairing("<bos> $A <eos> $B:1")
    found = RewardModel(MODELS["bert"], endless, "pair", append_eos=True)(PREFIXES[:2], CONTINUATIONS[:2])
    torch.testing.assert_close(found, RewardModel(MODELS["bert"], ended, "pair")(PREFIXES[:2], CONTINUATIONS[:2]))


def test_long_texts_keep_their_end():
    model = MODELS["llama"]
    pairs = [("abcdefgh", "ijkl")]
    scorer = RewardModel(model, WORDS, max_length=6)
    torch.testing.assert_close(scorer(["abcdefgh"], ["ijkl"]), expected(model, pairs=[("gh", "ijkl")]))
    ended = RewardModel(model, WORDS, max_length=6, append_eos=True)
    torch.testing.assert_close(ended(["abcdefgh"], ["ijkl"]), expected(model, [tiny.EOS], pairs=[("h", "ijkl")]))
    model_limit = RewardModel(model, WORDS)(["a" * 130], ["b"])  # of 128 positions
    torch.testing.assert_close(model_limit, expected(model, pairs=[("a" * 127, "b")]))
    assert pairs


def test_a_text_of_no_tokens_is_refused():
    with pytest.raises(ValueError, match="a text has no tokens: use append_eos=True"):
        RewardModel(MODELS["llama"], WORDS)(["", "a"], ["", "b"])
    assert RewardModel(MODELS["llama"], WORDS, append_eos=True)([""], [""]).isfinite().all()


# outputs


def test_one_of_several_outputs():
    model = llama(3)
    with pytest.raises(ValueError, match="has 3 outputs: say which is the reward, index=0 to 2"):
        RewardModel(model, WORDS)
    for index in range(3):
        found = RewardModel(model, WORDS, index=index)(PREFIXES, CONTINUATIONS)
        torch.testing.assert_close(found, expected(model, index=index))
    with pytest.raises(ValueError, match="index must be in 0 to 2"):
        RewardModel(model, WORDS, index=3)
    assert RewardModel(model, WORDS, index=2).score(["a"], [], []).shape == (0,)


class Own(torch.nn.Module):
    """A model with a field of its own for the reward, as mixtures of objectives have."""

    def __init__(self, wide=False):
        super().__init__()
        self.inner, self.wide = MODELS["llama"], wide
        self.config, self.device = self.inner.config, self.inner.device

    def forward(self, **inputs):
        logits = self.inner(**inputs).logits
        return {"score": logits.repeat(1, 3) if self.wide else logits[:, 0]}


def test_another_output():
    found = RewardModel(Own(), WORDS, output="score")(PREFIXES, CONTINUATIONS)
    torch.testing.assert_close(found, expected(MODELS["llama"]))
    with pytest.raises(ValueError, match="score of the model has 3 values: say which"):
        RewardModel(Own(wide=True), WORDS, output="score")(PREFIXES, CONTINUATIONS)
    with pytest.raises(ValueError, match="score of the model has 3 values: index must be in 0 to 2"):
        RewardModel(Own(wide=True), WORDS, output="score", index=3)(PREFIXES, CONTINUATIONS)


def test_unfinished_texts_are_for_the_user_to_allow():
    assert not RewardModel(MODELS["llama"], WORDS).partial
    assert RewardModel(MODELS["llama"], WORDS, partial=True).partial


def test_a_folder_is_read(tmp_path):
    llama(2).float().save_pretrained(tmp_path)
    WORDS.save_pretrained(tmp_path)
    scorer = RewardModel.from_pretrained(tmp_path, index=1, device="cpu", dtype=torch.float64)
    torch.testing.assert_close(scorer(PREFIXES, CONTINUATIONS), expected(llama(2), index=1), rtol=1e-4, atol=1e-4)


def test_a_model_without_a_trained_head_is_refused(tmp_path):
    tiny.llama().float().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"weights are missing, 1, such as score\.weight"):
        RewardModel.from_pretrained(tmp_path, WORDS)


@pytest.mark.parametrize(("options", "says"), [
    ({"form": "prompt"}, "form must be 'text' or 'pair' or 'chat'"),
    ({"batch_size": 0}, "batch_size must be"),
    ({"max_length": -1}, "max_length must be"),
    ({"output": "score", "index": -1}, "index must be a whole number of at least 0"),
])  # fmt: skip
def test_options_are_checked(options, says):
    with pytest.raises(ValueError, match=says):
        RewardModel(MODELS["llama"], WORDS, **options)


def test_there_must_be_an_end_to_append():
    words = tiny.tokenizer()
    words.eos_token = None
    with pytest.raises(ValueError, match="no end of text"):
        RewardModel(MODELS["llama"], words, append_eos=True)


# mixtures


def test_a_mixture_is_the_weighted_sum():
    experts = [RewardModel(llama(seed=seed), WORDS) for seed in (1, 2, 3)]
    classes = Classifier(llama(3, seed=4), WORDS)
    weights = torch.stack(
        [torch.tensor([reward(classes.model, letters(x), i) for i in range(3)]) for x in PREFIXES[:3]]
    )
    scores = torch.stack([expected(expert.model)[:3] for expert in experts], 1)
    soft = Gated(Router(classes), experts)
    torch.testing.assert_close(soft(PREFIXES[:3], CONTINUATIONS[:3]), (weights.softmax(1) * scores).sum(1),
                               rtol=1e-4, atol=1e-5)  # fmt: skip
    hard = Gated(Router(classes, hard=True), experts)
    torch.testing.assert_close(hard(PREFIXES[:3], CONTINUATIONS[:3]), scores[torch.arange(3), weights.argmax(1)])


def test_an_expert_of_no_weight_does_not_run():
    asked = []

    def expert(name):
        return lambda prefixes, texts: asked.append((name, texts)) or [float(len(text)) for text in texts]

    router = lambda prefixes: [[1, 0], [0, 0.5]]
    mixture = Gated(router, [expert("a"), expert("b")])
    assert mixture(["x", "y", "x"], ["q", "rr", "sss"]).tolist() == [1, 1, 3]
    assert asked == [("a", ["q", "sss"]), ("b", ["rr"])]


def test_an_expert_reads_the_prefixes_that_are_its_own():
    class Spy(Scorer):
        def __init__(self):
            self.seen = []

        def read(self, prefixes):
            self.seen.append(prefixes)
            return prefixes

        def score(self, state, owners, continuations):
            return torch.tensor([float(len(state[owner])) for owner in owners])

    experts = [Spy(), Spy(), Spy()]
    mixture = Gated(lambda prefixes: [[1, 0, 0], [0, 0.5, 0], [1, 0.5, 0]], experts)
    assert mixture(["x", "yy", "zzz", "yy"], ["a"] * 4).tolist() == [1, 1, 4.5, 1]
    assert [expert.seen for expert in experts] == [[["x", "zzz"]], [["yy", "zzz"]], []]


def test_prefixes_are_routed_once():
    asked = []
    mixture = Gated(lambda prefixes: asked.append(prefixes) or [[1.0]] * len(prefixes), [lambda x, c: [1.0] * len(c)])
    state = mixture.read(["x", "y"])
    mixture.score(state, [0, 1], ["a", "b"])
    mixture.score(state, [1], ["c"])
    assert asked == [["x", "y"]]


def test_what_an_expert_rejects_is_rejected():
    reject = lambda x, c: [float("-inf")] * len(c)
    one = lambda x, c: [1.0] * len(c)
    assert Gated(lambda x: [[0.5, 0.5]], [reject, one])(["x"], ["a"]) == float("-inf")
    assert Gated(lambda x: [[0.0, 0.5]], [reject, one])(["x"], ["a"]) == 0.5


def test_a_mixture_is_as_careful_as_its_experts():
    one = Function(lambda x, c: [1.0] * len(c))
    whole = Function(lambda x, c: [1.0] * len(c), partial=False)
    votes = Function(lambda x, c: [1.0] * len(c), setwise=True)
    router = lambda x: [[0.5, 0.5]]
    assert (Gated(router, [one, one]).partial, Gated(router, [one, one]).setwise) == (True, False)
    assert (Gated(router, [one, whole]).partial, Gated(router, [one, votes]).setwise) == (False, True)


@pytest.mark.parametrize(("weights", "says"), [
    ([[1.0]], r"gave \(1, 1\) weights for 1 prefixes and 2 experts"),
    ([[float("nan"), 1.0]], "finite and at least 0"),
    ([[-1.0, 1.0]], "finite and at least 0"),
])  # fmt: skip
def test_routers_are_checked(weights, says):
    one = lambda x, c: [1.0] * len(c)
    with pytest.raises(ValueError, match=says):
        Gated(lambda x: weights, [one, one])(["x"], ["a"])
    with pytest.raises(ValueError, match="at least one expert"):
        Gated(lambda x: weights, [])
