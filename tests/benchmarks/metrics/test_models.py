"""Metrics that read a model: equal to one text at a time, whatever is batched, padded, cached or killed."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, T5Config, T5ForConditionalGeneration

from benchmarks.metrics import features, likelihood, similarity
from benchmarks.metrics.features import Featurizer, fingerprint
from benchmarks.metrics.likelihood import coherence, log_likelihoods, perplexity
from benchmarks.metrics.states import read_states
from tests.support import tiny
from tests.support.oracles import methods as oracles

TEXTS = ["abc", "a longer one, with words", "Hm", "so on and on"]
WORDS = tiny.tokenizer()


def bert():
    config = BertConfig(
        vocab_size=tiny.VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    return tiny.seeded(BertModel(config))


def t5():
    config = T5Config(
        vocab_size=tiny.VOCABULARY, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    return tiny.seeded(T5ForConditionalGeneration(config))


MODELS = {"gpt2": tiny.gpt2(), "llama": tiny.llama(), "bert": bert(), "t5": t5()}


def ids(text):
    return WORDS(text)["input_ids"]


@torch.no_grad()
def alone(name, row):
    """(L, T, D) of a text on its own, by the whole model, without mask or padding."""
    model = MODELS[name].get_encoder() if name == "t5" else MODELS[name]
    return torch.stack(model(torch.tensor([row]), output_hidden_states=True).hidden_states)[:, 0]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("layers", ["all", (-1,), (0, 1), (-2, -1)], ids=str)
def test_states_are_those_of_each_text_alone(name, layers):
    rows = [ids(text) for text in TEXTS]
    found = [*read_states(MODELS[name], rows, layers=layers, starts=[0, 5, 1, 0], batch_size=3)]
    assert sorted(one.text for one in found) == [0, 1, 2, 3]
    assert [one.text for one in found] == [1, 3, 0, 2]  # longest first
    for one in found:
        expected = alone(name, rows[one.text])
        expected = expected if layers == "all" else expected[list(layers)]
        assert one.start == [0, 5, 1, 0][one.text]
        torch.testing.assert_close(one.states, expected[:, one.start :], rtol=0, atol=1e-10)


def test_no_logits_are_computed():
    model = tiny.llama()
    model.lm_head.forward = lambda *_: pytest.fail("the head was computed")
    assert len([*read_states(model, [[3, 4]], layers="all")]) == 1


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft uses the old name
def test_states_of_an_adapter_are_the_adapters():
    peft = pytest.importorskip("peft")
    base = next(read_states(MODELS["llama"], [[3, 4, 5]])).states
    model = peft.get_peft_model(tiny.llama(), peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    model = model.double().eval()
    with torch.no_grad():
        expected = model(torch.tensor([[3, 4, 5]]), output_hidden_states=True).hidden_states[-1]
    found = next(read_states(model, [[3, 4, 5]])).states
    torch.testing.assert_close(found, expected)
    assert (found - base).abs().max() > 1e-3
    on = fingerprint(model)
    with model.disable_adapter():
        torch.testing.assert_close(next(read_states(model, [[3, 4, 5]])).states, base)
        assert fingerprint(model) != on
    assert fingerprint(model) == on


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": [[1], []]}, "text 1 has no tokens"),
        ({"tokens": [[1, 2]], "starts": [2]}, "text 0 has no tokens to measure"),
        ({"tokens": [[1, 2]], "starts": [0, 0]}, "2 starts for 1 texts"),
        ({"tokens": [[1] * 129]}, "text 0 has 129 tokens and the model reads 128: pass a max_length"),
        ({"layers": (3,)}, r"layers must be among 0 \(embeddings\) to 2"),
        ({"layers": (-4,)}, "layers must be among"),
        ({"layers": ()}, "layers must be among"),
        ({"layers": "last"}, 'layers must be numbers or "all"'),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_states_are_refused_before_any_forward(options, message):
    model = tiny.llama()
    model.forward = model.model.forward = lambda *_, **__: pytest.fail("a forward was run")
    with pytest.raises(ValueError, match=message):
        read_states(model, **{"tokens": [[1, 2]]} | options)


# features


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("layer", [-1, 1])
def test_features_are_last_token_or_mean(name, layer):
    for pooling, pooled in (("last", lambda h: h[-1]), ("mean", lambda h: h.mean(0))):
        found = Featurizer(MODELS[name], WORDS, pooling=pooling, layer=layer, batch_size=3)([*TEXTS, "abc"])
        assert found.dtype == np.float32
        expected = torch.stack([pooled(alone(name, ids(text))[layer]) for text in [*TEXTS, "abc"]])
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_features_read_the_beginning_of_long_texts():
    cut = Featurizer(MODELS["llama"], WORDS, max_length=5)(["abcdefgh", "ab"])
    np.testing.assert_allclose(cut, Featurizer(MODELS["llama"], WORDS)(["abcde", "ab"]), atol=1e-6)
    long = Featurizer(MODELS["gpt2"], WORDS)(["ab" * 200])  # the model's own window, 128
    np.testing.assert_allclose(long, Featurizer(MODELS["gpt2"], WORDS)(["ab" * 64]), atol=1e-6)


@pytest.fixture
def reads(monkeypatch):
    """How many texts were read by a model, call by call."""
    seen = []

    def counted(model, tokens, **options):
        seen.append(len(tokens))
        return read_states(model, tokens, **options)

    monkeypatch.setattr(features, "read_states", counted)
    return seen


def test_the_cache_reads_each_text_once(tmp_path, reads):
    reader = Featurizer(MODELS["llama"], WORDS, cache=tmp_path)
    first = reader(TEXTS[:2])
    again = replace(reader, batch_size=1)([TEXTS[2], TEXTS[1], TEXTS[0], TEXTS[2], "xyz"])
    assert reads == [2, 2]  # "xyz" is as long as the first
    np.testing.assert_array_equal(again[[2, 1]], first)
    plain = Featurizer(MODELS["llama"], WORDS)([*TEXTS[:3], "xyz"])
    np.testing.assert_allclose(again[[2, 1, 0, 4]], plain, atol=1e-6)
    assert json.loads(next(tmp_path.glob("*/settings.json")).read_text())["pooling"] == "last"
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file.suffix not in (".npy", ".json")]


def test_the_cache_knows_weights_settings_and_tokens_apart(tmp_path, reads):
    base = Featurizer(tiny.llama(), WORDS, cache=tmp_path)
    base(["abcdef"])
    others = [
        replace(base, model=tiny.llama(seed=1)),
        replace(base, model=tiny.llama().float()),
        replace(base, pooling="mean"),
        replace(base, layer=1),
        replace(base, max_length=3),
    ]
    for other in others:
        other(["abcdef"])
        other(["abcdef"])
    assert reads == [1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0]
    base(["abcdef"])
    with torch.no_grad():
        base.model.model.layers[1].mlp.down_proj.weight[0, 0] += 1e-3  # trained a little, under the same name
    changed = base(["abcdef"])
    assert reads[-2:] == [0, 1]
    np.testing.assert_allclose(changed, Featurizer(base.model, WORDS)(["abcdef"]), atol=1e-6)
    replace(base, max_length=6)(["abcdefxyz"])  # what is cut off does not count
    assert reads[-1] == 0


def test_a_killed_run_goes_on_and_damaged_files_are_read_again(tmp_path, reads, monkeypatch):
    reader = Featurizer(MODELS["llama"], WORDS, cache=tmp_path, batch_size=1)
    expected = Featurizer(MODELS["llama"], WORDS)(TEXTS)
    store, kept = features.store, []

    def killed(*arguments):
        if len(kept) == 2:
            raise KeyboardInterrupt
        kept.append(store(*arguments))

    monkeypatch.setattr(features, "store", killed)
    with pytest.raises(KeyboardInterrupt):
        reader(TEXTS)
    monkeypatch.setattr(features, "store", store)
    np.testing.assert_allclose(reader(TEXTS), expected, atol=1e-6)
    assert reads[1:] == [4, 2]
    file = sorted(tmp_path.rglob("*.npy"))[0]
    file.write_bytes(file.read_bytes()[:40])
    np.testing.assert_allclose(reader(TEXTS), expected, atol=1e-6)
    assert reads[-1] == 1


def test_a_featurizer_loads_any_folder(tmp_path):
    for name, model in (("gpt2", tiny.gpt2().float()), ("bert", bert().float())):
        model.save_pretrained(tmp_path / name)
        WORDS.save_pretrained(tmp_path / name)
        found = Featurizer.load(str(tmp_path / name), max_length=16)
        assert found(TEXTS).shape == (4, 32)
        assert found.signature.startswith(f"feat:{name}@{fingerprint(found.model)[:8]}|pool:last|layer:-1|max:16")
    half = Featurizer.load(str(tmp_path / "gpt2"), dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="no model"):
        Featurizer.load(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Featurizer(None, None, pooling="max"), 'pooling must be "last" or "mean"'),
        (lambda: Featurizer(None, None, max_length=0), "max_length"),
        (lambda: Featurizer(None, None, batch_size=0), "batch_size"),
        (lambda: Featurizer(MODELS["llama"], WORDS)([]), "at least one text"),
        (lambda: Featurizer(MODELS["llama"], WORDS)("abc"), "at least one text"),
        (lambda: Featurizer(MODELS["llama"], WORDS)(["a", "", ""]), "2 of 3 texts have no tokens"),
    ],
)
def test_features_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


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


def test_cosines_by_all_pairs():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 2, (9, 5)), rng.normal(size=(9, 5))

    def cosine(x, y):
        return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

    own = similarity.embedding_coherence(a, b)
    assert own.per_text == pytest.approx([cosine(x, y) for x, y in zip(a, b, strict=True)])
    assert own.value == pytest.approx(own.per_text.mean())
    cross = similarity.cross_similarity(a, b)
    assert cross.value == pytest.approx(np.mean([[cosine(x, y) for x in a] for y in b]))
    assert cross.left_out[4] == pytest.approx(np.mean([[cosine(x, y) for x in np.delete(a, 4, 0)]
                                                       for y in np.delete(b, 4, 0)]))  # fmt: skip
    same = similarity.self_similarity(a)
    assert same.value == pytest.approx(np.mean([cosine(a[i], a[j]) for i in range(9) for j in range(9) if i != j]))
    assert same.low < same.value < same.high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: similarity.embedding_coherence([[1.0]], [[1.0], [2.0]]), "one shape"),
        (lambda: similarity.cross_similarity([[1.0]], [[1.0], [2.0]]), "two sets of one size"),
        (lambda: similarity.self_similarity([[1.0]]), "at least 2 rows"),
        (lambda: similarity.self_similarity([1.0, 2.0]), r"must be \(N, D\)"),
        (lambda: similarity.self_similarity([[1.0], [0.0]]), "finite and not zero"),
        (lambda: similarity.self_similarity([[1.0], [math.nan]]), "finite and not zero"),
    ],
)
def test_cosines_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_likelihood_module_counts_tokens_not_texts():
    found = perplexity(np.array([[-6.0, 2], [-1.0, 10]]))
    assert found.value == pytest.approx(math.exp(7 / 12))
    assert found.per_text == pytest.approx([math.exp(3), math.exp(0.1)])
    assert likelihood.coherence(np.array([[-6.0, 2], [-1.0, 10]])).value == pytest.approx(-1.55)
