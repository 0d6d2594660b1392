"""Features of texts, and their cache."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.metrics import features
from benchmarks.metrics.features import Featurizer, fingerprint
from benchmarks.metrics.states import read_states
from tests.support import tiny
from tests.support.text_models import MODELS, WORDS, alone, bert, ids

TEXTS = ["abc", "a longer one, with words", "Hm", "so on and on"]


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
