"""Embedding: each pooling equals the model's own states of one text; whitened vectors are white."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from transformers import GPT2Model, T5Config, T5ForConditionalGeneration

from scorers import PROMPT_EOL, Embedding, Whitening
from tests.support import tiny
from tests.support.encoders import bert

WORDS = tiny.tokenizer()
PREFIXES = ["The night was", "Hm", "It is warm here, and on it goes"]
CONTINUATIONS = [" cold. So", " m!", " Say so, said he to her"]


def t5():
    config = T5Config(vocab_size=tiny.VOCABULARY, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    return tiny.seeded(T5ForConditionalGeneration(config))


MODELS = {"bert": bert(), "gpt2": tiny.gpt2(), "llama": tiny.llama(), "t5": t5()}


def special():
    """A tokenizer that puts <bos> before a text and <eos> behind it."""
    words = tiny.tokenizer()
    both = [("<bos>", tiny.BOS), ("<eos>", tiny.EOS)]
    words.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A <eos>", special_tokens=both)
    return words


def letters(text):
    return WORDS(text, add_special_tokens=False)["input_ids"]


@torch.no_grad()
def states(model, ids, layer=-1):
    """(T, D): one text, no padding."""
    trunk = {"t5": lambda: model.encoder, "gpt2": lambda: model.transformer, "llama": lambda: model.model}
    reader = trunk.get(model.config.model_type, lambda: model)()
    return reader(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0]


def vector(model, ids, pooling, layer=-1):
    found = states(model, ids, layer)
    return {"mean": found.mean(0), "last": found[-1], "first": found[0]}[pooling]


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def expected(model, pooling="mean", layer=-1, wrap=letters, pairs=None):
    pairs = pairs or list(zip(PREFIXES, CONTINUATIONS, strict=True))
    vectors = [[vector(model, wrap(text), pooling, layer) for text in pair] for pair in pairs]
    return torch.tensor([cosine(*pair) for pair in vectors])


@pytest.mark.parametrize("pooling", ["mean", "last", "first"])
@pytest.mark.parametrize("name", MODELS)
def test_scores_equal_the_models_own_states(name, pooling):
    for batch_size in (1, 2, 32):
        scorer = Embedding(MODELS[name], WORDS, pooling, batch_size=batch_size)
        torch.testing.assert_close(scorer(PREFIXES, CONTINUATIONS), expected(MODELS[name], pooling))


@pytest.mark.parametrize("layer", [0, 1, 2, -1, -2])
@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_layers(name, layer):
    found = Embedding(MODELS[name], WORDS, layer=layer)(PREFIXES, CONTINUATIONS)
    torch.testing.assert_close(found, expected(MODELS[name], layer=layer))


@pytest.mark.parametrize("layer", [3, -4])
def test_there_must_be_such_a_layer(layer):
    with pytest.raises(ValueError, match=f"layer must be in -3 to 2, not {layer}"):
        Embedding(MODELS["bert"], WORDS, layer=layer)(PREFIXES, CONTINUATIONS)


def test_special_tokens_are_among_those_pooled():
    words = special()
    wrap = lambda text: [tiny.BOS, *letters(text), tiny.EOS]
    for pooling in ("mean", "last", "first"):
        found = Embedding(MODELS["bert"], words, pooling)(PREFIXES, CONTINUATIONS)
        torch.testing.assert_close(found, expected(MODELS["bert"], pooling, wrap=wrap))


TEXTS = st.text("abcXYZ .", min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5), st.sampled_from(["mean", "last"]))
def test_any_texts_equal_them(pairs, pooling):
    scorer = Embedding(MODELS["llama"], WORDS, pooling, batch_size=3)
    found = scorer([prefix for prefix, _ in pairs], [text for _, text in pairs])
    torch.testing.assert_close(found, expected(MODELS["llama"], pooling, pairs=pairs), rtol=1e-5, atol=1e-5)


# prompts and lengths


def test_a_prompt_asks_for_the_meaning():
    wrap = lambda text: letters(PROMPT_EOL.replace("{text}", text))
    words = [letter for letter in PROMPT_EOL if letter not in '{}":']
    assert len(wrap("ab")) >= len(words) - 4  # the tiny vocabulary has no quotes
    found = Embedding(MODELS["llama"], WORDS, "last", prompt=PROMPT_EOL)(PREFIXES, CONTINUATIONS)
    torch.testing.assert_close(found, expected(MODELS["llama"], "last", wrap=wrap))
    with_braces = ["{text} {0}", "a", "b"]  # a text may look like a place, and so may what stands around it
    assert (
        Embedding(MODELS["llama"], WORDS, "last", prompt="{So}: {text}!")(with_braces, CONTINUATIONS).isfinite().all()
    )


@pytest.mark.parametrize("prompt", ["no place", "{text} twice {text}"])
def test_a_prompt_has_one_place(prompt):
    with pytest.raises(ValueError, match="once, where the text goes"):
        Embedding(MODELS["llama"], WORDS, prompt=prompt)


def test_long_prefixes_keep_their_end_and_continuations_their_start():
    model, text = MODELS["bert"], "abcdefghijkl"
    scorer = Embedding(model, WORDS, max_length=5)
    found = scorer([text], [text])
    wrapped = [vector(model, letters(part), "mean") for part in (text[-5:], text[:5])]
    torch.testing.assert_close(found, torch.tensor([cosine(*wrapped)]))
    both = [vector(model, [tiny.BOS, *letters(part), tiny.EOS], "mean") for part in (text[-3:], text[:3])]
    torch.testing.assert_close(Embedding(model, special(), max_length=5)([text], [text]),
                               torch.tensor([cosine(*both)]))  # fmt: skip


def test_of_a_prompted_text_only_the_text_is_cut():
    model, text = MODELS["llama"], "abcdefghijkl"
    scorer = Embedding(model, WORDS, "last", prompt="So {text} is!", max_length=12)  # seven of them the prompt's
    both = [vector(model, letters(f"So {part} is!"), "last") for part in (text[-5:], text[:5])]
    torch.testing.assert_close(scorer([text], [text]), torch.tensor([cosine(*both)]))
    none = Embedding(model, WORDS, "last", prompt="So {text} is!", max_length=7)
    assert none([text], ["dcba"]).tolist() == pytest.approx([1])  # nothing is left of either
    with pytest.raises(ValueError, match="7 tokens must stay, and 6 are read"):
        Embedding(model, WORDS, "last", prompt="So {text} is!", max_length=6)([text], [text])


def test_the_model_says_how_long_a_text_may_be():
    scorer = Embedding(MODELS["bert"], WORDS)  # 64 positions
    assert torch.equal(scorer(["a" * 64], ["b" * 64]), scorer(["c" * 9 + "a" * 64], ["b" * 64 + "d" * 9]))
    words = copy.deepcopy(WORDS)
    words.model_max_length = 9  # or its tokenizer, if that is less
    scorer = Embedding(MODELS["bert"], words)
    assert torch.equal(scorer(["a" * 9], ["b" * 9]), scorer(["ca" + "a" * 8], ["b" * 9 + "d"]))


def test_a_text_without_tokens_has_no_direction():
    scorer = Embedding(MODELS["llama"], WORDS)
    assert scorer(["", "a", "", "a"], ["a", "", "", "a"]).tolist() == pytest.approx([0, 0, 0, 1], abs=1e-6)
    assert scorer([""], [""]).tolist() == [0]


# whitening


def test_whitened_vectors_are_white():
    texts = [letter * n + other for letter in "abcdefgh" for n in (1, 2, 3) for other in "xyz"]
    scorer = Embedding(MODELS["llama"], WORDS).whitened(texts, 10)
    vectors = scorer.embed(texts)
    assert vectors.shape == (72, 10)
    torch.testing.assert_close(vectors.mean(0), torch.zeros(10, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(vectors.T.cov(), torch.eye(10, dtype=torch.float64), atol=1e-7, rtol=0)


def test_whitening_is_that_of_the_paper():
    """Su et al. 2021: W = U Λ^(-1/2) of the covariance's decomposition, the first K columns."""
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x @ torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 3
    u, s, _ = torch.linalg.svd((x - x.mean(0)).T @ (x - x.mean(0)) / 49)
    for k in (1, 4, 6):
        theirs = (x - x.mean(0)) @ (u / s.sqrt())[:, :k]
        ours = Whitening.fit(x, k)(x)
        torch.testing.assert_close(ours.abs(), theirs.abs())  # a direction's sign is free
        torch.testing.assert_close(ours @ ours.T, theirs @ theirs.T)


def test_scores_are_those_of_whitened_vectors():
    texts = PREFIXES + CONTINUATIONS + ["a", "bc", "d e f"]
    plain = Embedding(MODELS["gpt2"], WORDS)
    white = plain.whitened(texts, 4)
    matrix = white.whitening
    vectors = [[matrix(vector(MODELS["gpt2"], letters(text), "mean")[None])[0] for text in pair]
               for pair in zip(PREFIXES, CONTINUATIONS, strict=True)]  # fmt: skip
    torch.testing.assert_close(white(PREFIXES, CONTINUATIONS), torch.tensor([cosine(*pair) for pair in vectors]))
    again = white.whitened(texts, 4)  # of the model's embeddings, not of the white ones
    torch.testing.assert_close(again.whitening.matrix, matrix.matrix)
    assert plain.whitening is None


def test_directions_without_variance_are_left_out():
    x = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    assert Whitening.fit(x).matrix.shape == (9, 3)
    with pytest.raises(ValueError, match="4 vectors vary in 3 dimensions"):
        Whitening.fit(x, 4)
    with pytest.raises(ValueError, match="vary in 0 dimensions"):
        Whitening.fit(torch.ones(5, 3))
    for few in (torch.ones(1, 3), torch.ones(3)):
        with pytest.raises(ValueError, match="N at least 2"):
            Whitening.fit(few)


# loading


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_a_folder_is_read(tmp_path, name):
    MODELS[name].float().save_pretrained(tmp_path)
    MODELS[name].double()
    WORDS.save_pretrained(tmp_path)
    scorer = Embedding.from_pretrained(tmp_path, pooling="last", device="cpu")
    torch.testing.assert_close(scorer(PREFIXES, CONTINUATIONS), expected(MODELS[name], "last"), rtol=1e-3, atol=1e-4)


def test_an_encoder_needs_no_pooler(tmp_path):
    weights = {name: value.float() for name, value in MODELS["bert"].state_dict().items() if "pooler" not in name}
    MODELS["bert"].save_pretrained(tmp_path, state_dict=weights)
    scorer = Embedding.from_pretrained(tmp_path, WORDS, device="cpu")
    torch.testing.assert_close(scorer(PREFIXES, CONTINUATIONS), expected(MODELS["bert"], "mean"), rtol=1e-3, atol=1e-4)


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no such folder"):
        Embedding.from_pretrained(tmp_path / "none")
    with pytest.raises(ValueError, match="no tokenizer in"):
        Embedding.from_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match="cannot load"):
        Embedding.from_pretrained(tmp_path, WORDS)
    GPT2Model(MODELS["gpt2"].config).save_pretrained(tmp_path)
    weights = {"wte.weight": torch.zeros(tiny.VOCABULARY, 32)}
    (tmp_path / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="weights are missing"):
        Embedding.from_pretrained(tmp_path, WORDS)


@pytest.mark.parametrize(("options", "says"), [
    ({"pooling": "max"}, "pooling must be 'mean' or 'last' or 'first'"),
    ({"batch_size": 0}, "batch_size must be"),
    ({"max_length": 0}, "max_length must be"),
    ({"layer": 1.0}, "layer must be a whole number"),
])  # fmt: skip
def test_options_are_checked(options, says):
    with pytest.raises(ValueError, match=says):
        Embedding(MODELS["bert"], WORDS, **options)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")  # of transformers, at peft
def test_adapters_are_read_with_the_model():
    peft = pytest.importorskip("peft")
    plain = Embedding(tiny.llama(), WORDS)(PREFIXES, CONTINUATIONS)
    model = peft.get_peft_model(tiny.llama(), peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    adapted = Embedding(model, WORDS)(PREFIXES, CONTINUATIONS)
    assert (adapted - plain).abs().max() > 1e-4
    with model.disable_adapter():
        torch.testing.assert_close(Embedding(model, WORDS)(PREFIXES, CONTINUATIONS), plain)
